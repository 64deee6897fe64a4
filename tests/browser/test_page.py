"""The page as its readers see it, in a real browser: make test-browser."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

PAGE = (Path(__file__).parents[2] / "results" / "report" / "index.html").as_uri()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CLAIMS = pd.read_csv(Path(__file__).parents[2] / "results" / "claims.csv")
TOTAL = len(CLAIMS)
api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture(scope="module")
def chromium():
    with api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens the page in a window of some width and scheme; what goes wrong there is collected in `.wrong`."""
    contexts = []

    def open_page(width=1400, scheme="light", url=PAGE, **how):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **how)
        contexts.append(context)
        page = context.new_page()
        page.wrong = []
        page.on("console", lambda m: page.wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: page.wrong.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else page.wrong.append(r.url))
        page.on("requestfailed", lambda r: page.wrong.append(r.url))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1400])
def test_no_error_no_other_host_and_no_sideways_scrolling(visit, width, scheme):
    for url in (PAGE, PAGE.replace("index", "runs")):
        page = visit(width, scheme, url)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        page.wait_for_load_state("networkidle")
        page.wait_for_function("[...document.images].every(i => i.complete)", timeout=120_000)
        assert page.wrong == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = "[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
        assert page.evaluate(broken) == []


def test_every_claim_opens_by_keyboard(visit):
    page = visit()
    for claim in CLAIMS.itertuples():
        row = page.locator(f"tr#{claim.id}")
        row.locator("summary").first.focus()
        page.keyboard.press("Enter")
        assert row.locator("details").first.evaluate("d => d.open")
        assert claim.verdict == "not tested" or row.locator("code").last.is_visible(), "the command that repeats it"


def test_filters_count_right(visit):
    page = visit()
    assert page.inner_text("#count") == f"{TOTAL} of {TOTAL} claims shown"
    for verdict, n in CLAIMS.verdict.value_counts().items():
        page.get_by_label(verdict, exact=True).uncheck()
        shown = page.locator(".claims tbody tr:visible").count()
        assert shown == TOTAL - n and page.inner_text("#count") == f"{shown} of {TOTAL} claims shown"
        page.get_by_role("button", name="Show all").click()
    page.locator(".filters").get_by_label("Energy").uncheck()
    assert page.locator(".claims tbody tr:visible").count() == TOTAL - CLAIMS.id.str.startswith("E").sum()


def test_sorting_goes_both_ways_and_is_said(visit):
    page = visit()
    button = page.get_by_role("button", name="Verdict", exact=True)
    first = "document.querySelector('.claims tbody tr').dataset.verdict"
    button.click()
    assert page.evaluate(first) == "not reproduced"
    button.click()
    assert page.evaluate(first) == "undecided" and button.locator("..").get_attribute("aria-sort") == "descending"


def test_a_link_to_a_claim_opens_it_though_it_was_filtered(visit):
    page = visit()
    page.get_by_label("undecided", exact=True).uncheck()
    page.locator("a[href='#E6']").first.click()
    assert page.locator("tr#E6 details").first.evaluate("d => d.open") and page.locator("tr#E6").is_visible()


def test_without_scripts_all_is_there(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(".claims tbody tr").count() == TOTAL and not page.locator(".filters").is_visible()
    page.locator("tr#E2 summary").first.click()
    assert page.locator("tr#E2 code").last.is_visible()


def test_it_prints(visit, tmp_path):
    page = visit()
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert len(page.pdf(path=tmp_path / "page.pdf")) > 100_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "runs"])
def test_axe_finds_nothing_serious(visit, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(scheme=scheme, url=PAGE.replace("index", name))
    page.evaluate("[...document.querySelectorAll('details')].slice(0, 12).forEach(d => d.open = true)")
    found = axe.Axe().run(page).response["violations"]
    serious = [(v["id"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []
