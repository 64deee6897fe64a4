"""Two real drivers at once that share something besides the machine, each with a store of its own: nothing is lost or mixed."""

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
from conftest import COMMAND
from nodes import ROOT, until

from sweeps.files import sqlite_address

NAME = 'it\'s "a" b #c ?d%41 $HOME new\nline ä'
ONE = "run --method sgd --benchmark split-digits --set epochs=300 --rows rows.csv"


@pytest.fixture
def start(home):
    """Starts a command with a store; its output goes to the log of that name."""
    started = []
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PRESYN_", "MLFLOW_"))}

    def start(words, store, log, **more):
        command = [sys.executable, "-m", "pipeline.cli", *words.split(), "--store", store]
        with (home.folder / log).open("w") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, cwd=home.folder, env={**env, "PYTHONPATH": str(ROOT), **more}
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=300)


def said(home, log):
    return (home.folder / log).read_text(errors="replace")


@pytest.mark.parametrize("home", [(11, 8)], indirect=True)
def test_two_stores_share_a_folder_of_checkpoints(home, start):
    shared = home.folder / "shared"
    drivers = [start(f"{COMMAND}-{name}", name, f"{name}.log", PRESYN_CHECKPOINTS=str(shared)) for name in ("first", "second")]
    for name, driver in zip(("first", "second"), drivers, strict=True):
        assert driver.wait(timeout=900) == 0, said(home, f"{name}.log")
        assert home.outcomes(home.folder / name) == home.expected
    assert not list(shared.glob("*/*"))


@pytest.mark.parametrize("home", [(12, 40)], indirect=True)
def test_a_second_store_is_refused_a_results_folder_that_is_being_written(home, start):
    first = start(COMMAND, "first", "first.log")
    until(lambda: list((home.folder / "first" / "checkpoints").glob("*/*.pt")))
    os.kill(first.pid, signal.SIGSTOP)  # so that it still holds the folder when the second has started
    for results in ("out", "other/../out"):
        second = start(COMMAND.replace("--results out", f"--results {results}"), "second", "second.log")
        assert second.wait(timeout=300) == 1
        assert said(home, "second.log").splitlines()[-1].startswith(f"presyn: {home.folder}/out is being written by another")
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(timeout=900) == 0, said(home, "first.log")
    assert home.outcomes(home.folder / "first") == home.expected
    assert len(pd.read_csv(home.folder / "out" / "search" / "space" / "runs.csv")) == 6
    assert not list(home.folder.glob("out/.*lock"))


@pytest.mark.parametrize("home", [(13, 8)], indirect=True)
def test_a_second_store_is_refused_a_file_of_rows_that_is_being_written(home, start):
    first = start(f"{ONE} --seeds 1 2", "first", "first.log")
    until(lambda: (home.folder / ".rows.csv.lock").exists())
    os.kill(first.pid, signal.SIGSTOP)
    (home.folder / "link").symlink_to(home.folder)
    for rows in ("rows.csv", "link/rows.csv"):
        second = start(f"{ONE.replace('rows.csv', rows)} --seeds 3", "second", "second.log")
        assert second.wait(timeout=300) == 1
        assert "is being written by another presyn" in said(home, "second.log").splitlines()[-1]
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(timeout=900) == 0, said(home, "first.log")
    assert start(f"{ONE} --seeds 3", "second", "second.log").wait(timeout=300) == 1
    assert "holds 2 runs that this command would drop" in said(home, "second.log")
    assert sorted(pd.read_csv(home.folder / "rows.csv").seed) == [1, 2]
    assert not (home.folder / ".rows.csv.lock").exists()


@pytest.mark.parametrize("home", [(14, 8)], indirect=True)
def test_a_store_may_be_in_a_folder_of_any_name(home, start):
    store = home.folder / NAME / "store"
    for words in (COMMAND, "sync-mlflow"):
        assert start(words, str(store), "log").wait(timeout=900) == 0, said(home, "log")
        assert "is not written" not in said(home, "log")
        home.check(store, sqlite_address(store / "mlflow.db"))
    assert start("list", str(store), "log").wait(timeout=300) == 0 and len(said(home, "log").splitlines()) >= 7
