"""The pages: the method of docs/adding_a_method.md works as it stands there, and links lead somewhere."""

import re
from pathlib import Path

import pytest
import torch

from presyn import METHODS, Benchmark, Cohort, PresynError, make_run, train

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE = Path(__file__).parents[2] / "docs" / "adding_a_method.md"
TASKS = Benchmark(name="t", dataset="digits", kind="permuted", tasks=2, epochs=4, batch_size=20, hidden=(30,))


@pytest.fixture
def brakes(monkeypatch):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    monkeypatch.setattr("presyn.methods.METHODS", METHODS)
    space = {"METHODS": METHODS, "__name__": "brakes"}
    try:
        for block in code:
            exec(compile(block, str(PAGE), "exec"), space)  # noqa: S102
        yield
    finally:
        METHODS.pop("brakes", None)


def test_it_learns_and_its_brakes_hold(brakes, tiny):
    cpu = torch.device("cpu")
    worn, free = train([make_run("brakes", TASKS, 1, {"eta0": 0.2, "wear": w}) for w in (100.0, 0.0)], tiny, cpu)
    assert free.accuracy[0][0] > 0.5 and free.figures["mean_moved"][1] > free.figures["mean_moved"][0] > 0
    assert worn.figures["mean_moved"][1] < 0.8 * free.figures["mean_moved"][1]
    plain = train([make_run("sgd", TASKS, 1, {"eta0": 0.2})], tiny, cpu)[0]
    assert plain.accuracy == free.accuracy  # without wear it is gradient descent


def test_it_has_what_every_method_has(brakes, tiny):
    with pytest.raises(PresynError, match="wear must be at least 0|wear must be between"):
        make_run("brakes", TASKS, 1, {"wear": -1.0})
    both = Cohort([make_run("brakes", TASKS, s, {"eta0": 0.2}) for s in (1, 2)], tiny, torch.device("cpu"))
    alone = Cohort([make_run("brakes", TASKS, 2, {"eta0": 0.2})], tiny, torch.device("cpu"))
    for cohort in (both, alone):
        cohort.train_segment()
    assert torch.equal(both.state["weights"][1], alone.state["weights"][0])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            heads = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}
            assert anchor in slugs, f"{page.name}: {link}"
