// Filters and sorting of the claims, and links into closed ones. Without this script everything is still there, unfiltered.
document.documentElement.classList.add("js");
const rows = [...document.querySelectorAll(".claims tbody tr")];
const boxes = [...document.querySelectorAll(".filters input")];
const count = document.getElementById("count");

function filter() {
  const chosen = (name) => boxes.filter((b) => b.name === name && b.checked).map((b) => b.value);
  const parts = chosen("part"), verdicts = chosen("verdict");
  let shown = 0;
  for (const row of rows) {
    row.hidden = !(parts.includes(row.dataset.part) && verdicts.includes(row.dataset.verdict));
    shown += !row.hidden;
  }
  count.textContent = `${shown} of ${rows.length} claims shown`;
}

boxes.forEach((box) => box.addEventListener("change", filter));
document.querySelectorAll(".filters button").forEach((button) => button.addEventListener("click", () => {
  boxes.forEach((box) => { box.checked = true; });
  filter();
}));

document.querySelectorAll(".claims thead button").forEach((button) => button.addEventListener("click", () => {
  const head = button.closest("th");
  const up = head.getAttribute("aria-sort") !== "ascending";
  document.querySelectorAll(".claims thead th").forEach((th) => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = (row) => row.dataset[button.dataset.key];
  const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true }) * (up ? 1 : -1);
  rows.sort(order).forEach((row) => row.parentNode.append(row));
}));

function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.hidden) { boxes.forEach((box) => { box.checked = true; }); filter(); }
  const details = target.querySelector("details");
  if (details) details.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
filter();
reveal();

// Printed, every claim is open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
