"""Saved views of MLflow's own pages in a browser: each opens, with the columns, the order and the groups that it is to have."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api")

from pipeline.records.mlflow.notes import Note  # noqa: E402
from pipeline.records.mlflow.writer import Writer  # noqa: E402
from pipeline.records.store import Store  # noqa: E402
from presyn import Record, make_run  # noqa: E402
from sweeps.files import sqlite_address  # noqa: E402

ROOT = Path(__file__).parents[2]


def put(store, seed, accuracy, settings):
    run = make_run("presynaptic", "permuted-digits", seed, settings)
    record = Record("finished", "", [[0.9, None], [accuracy, accuracy]], [1.0, 0.5], {}, [1.0, 1.0], [1000.0, 1001.0])
    return store.put(run.run_id("sha"), run, "sha", record.as_dict(), {})


def fill(store):
    """A search of three configurations, and a study of two variants with two seeds each."""
    trials = [put(store, n, a, {"p_up": 0.01 * (n + 1), "validation": 300}) for n, a in enumerate((0.5, 0.8, 0.6))]
    search = Note("search", "search/x/1", "x, search of presynaptic", [row.run_id for row in trials], about="A search.")
    search.labels = {row.run_id: {"trial": str(number)} for number, row in enumerate(trials)}
    search.columns, search.searched, search.objective = ["trial"], ["p_up"], "validation_accuracy"
    search.winner = trials[1].run_id
    pairs = [(name, seed, a) for name, a in (("full", 0.7), ("no-freezing", 0.4)) for seed in (1, 2)]
    rows = [put(store, seed, a, {"p_freeze": 1.0 if name == "no-freezing" else 0.9}) for name, seed, a in pairs]
    study = Note("ablations", "ablations/1", "ablations", [row.run_id for row in rows], about="A study.")
    study.labels = {row.run_id: {"ablation": name} for row, (name, _, _) in zip(rows, pairs, strict=True)}
    study.columns, study.objective = ["ablation", "seed"], "accuracy"
    study.table = str(store.root / "table.csv")
    Path(study.table).write_text("ablation,mean\nfull,0.7\n")
    for note in (search, study):
        note.save(store)
        writer = Writer(sqlite_address(store.root / "mlflow.db"), store, note)
        for row in (*trials, *rows):
            writer.write(row)
        writer.finish()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The address of the pages, by the name of this machine, and what the command printed."""
    folder = tmp_path_factory.mktemp("store")
    fill(Store(folder / ".presyn"))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = [sys.executable, "-m", "pipeline.cli", "mlflow-ui", "--host", "0.0.0.0", "--port", str(port)]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PRESYN_", "MLFLOW_")) and k != "DISPLAY"}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with (folder / "printed").open("w") as printed:
        server = subprocess.Popen(words, cwd=folder, env=env, stdout=printed, stderr=printed, start_new_session=True)
    try:
        until = time.monotonic() + 240
        while time.monotonic() < until:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://{socket.gethostname().lower()}:{port}", (folder / "printed").read_text()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium here")
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser, address):
    page = browser.new_page(viewport={"width": 1800, "height": 900})
    page.goto(address, wait_until="load", timeout=120_000)
    page.wait_for_selector(".ag-center-cols-container .ag-row", timeout=120_000)
    page.wait_for_timeout(1500)
    return page


def names(page):
    """What the first column says, from the top; without the colours of runs, which it holds unseen."""
    rows = page.locator(".ag-pinned-left-cols-container .ag-row").all()
    in_order = sorted(rows, key=lambda row: int(row.get_attribute("row-index")))
    return [" ".join(word for word in row.inner_text().split() if not word.startswith("#")) for row in in_order]


def headers(page):
    return [header.inner_text().strip() for header in page.locator(".ag-header-cell").all()]


def test_best_first_is_sorted_by_the_objective_beside_the_searched_parameters(pages, browser):
    address, _ = pages
    page = opened(browser, f"{address}/#/experiments/1/runs?viewStateShareKey=presyn-best-first")
    assert [name.split(",")[0] for name in names(page)] == ["p_up 0.02", "p_up 0.03", "p_up 0.01"]
    assert {"validation_accuracy", "p_up"} <= set(headers(page)) and "Best first" in page.inner_text("body")
    assert "A search." in page.inner_text("body")


def test_by_condition_has_a_group_for_each_variant(pages, browser):
    address, printed = pages
    path = next(line.partition("/#")[2] for line in printed.splitlines() if "/#" in line)
    assert "viewStateShareKey=presyn-by-condition" in path and printed.count("\n") <= 3, "the command opens this view"
    page = opened(browser, f"{address}/#{path}")
    page.get_by_text("Group: full").first.wait_for(timeout=60_000)
    groups = [name for name in names(page) if "Group: " in name]
    assert len(groups) == 2 and "Group: full" in groups[0] and "Group: no-freezing" in groups[1], names(page)


def test_the_winner_is_a_link_that_leads_to_its_run(pages, browser):
    from mlflow import MlflowClient

    address, _ = pages
    client = MlflowClient(address)
    parent = next(run for run in client.search_runs(["1"]) if "presyn_parent" in run.data.tags)
    page = browser.new_page()
    page.goto(f"{address}/#/experiments/1/runs/{parent.info.run_id}", wait_until="load", timeout=120_000)
    link = page.locator("p", has_text="Winner").get_by_role("link")
    link.wait_for(timeout=120_000)
    path = link.get_attribute("href")
    assert client.get_run(path.rpartition("/")[2]).data.params["p_up"] == "0.02"
    page.goto(f"{address}/{path}", wait_until="load", timeout=120_000)
    page.get_by_role("heading", name="p_up 0.02, trial 1").wait_for(timeout=120_000)
