"""Kill the driver, a worker, or stop by Ctrl-C in the middle of a search: the same command goes on to the same end.

The searches are real ones, by Ray, on the digits; they run as a user runs them, as processes of their own.
"""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.plan import Plan
from pipeline.records.store import Store
from sweeps.checkpoints import Checkpoints, read_file, segments_in_name
from sweeps.cluster import Cluster
from sweeps.execute import train_in_process
from sweeps.manifest import draw_trials
from sweeps.space import read_space
from sweeps.trials import trial_runs

SPACE = """
method: presynaptic
benchmark: permuted-digits
trials: 4
sampler_seed: 1
fixed: {validation: 300, epochs: 8, samples: 2}
search:
  p_up: {low: 0.01, high: 0.1}
  eta0: {choices: [0.05, 0.1]}
"""


@pytest.fixture
def search(home):
    """Starts the search as a process; every call is the same command."""
    (home / "space.yaml").write_text(SPACE)
    started = []

    def start():
        log = (home / f"log{len(started)}").open("w")
        command = [sys.executable, "-m", "pipeline.cli", "search", "--space", "space.yaml", "--cohort", "2", "--results", "out"]
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=home)
        log.close()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(condition, seconds=90):
    deadline = time.time() + seconds
    while time.time() < deadline:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come to that in time")


def some_parts(home, parts):
    """Whether a checkpoint after so many parts is there."""
    return lambda: any(segments_in_name(p) >= parts for p in (home / ".presyn" / "checkpoints").glob("*/*.pt"))


def progress(home):
    """run id -> the times at which its parts ended, by its newest checkpoint."""
    newest = {}
    for path in sorted((home / ".presyn" / "checkpoints").glob("*/*.pt"), key=segments_in_name):
        for run_id, saved in (read_file(path) or {}).items():
            newest[run_id] = saved["record"]["ended"]
    return newest


def assert_nothing_was_trained_again(home, before):
    """Times tell: training is deterministic, so results alone would not."""
    assert before
    for run_id, ended in before.items():
        row = json.loads((home / ".presyn" / "results" / f"{run_id}.json").read_text())
        assert row["ended"][: len(ended)] == ended


def results(home):
    rows = [json.loads(p.read_text()) for p in (home / ".presyn" / "results").glob("*.json")]
    return {r["run_id"]: (r["status"], r["accuracy"], r["loss"], r["figures"]) for r in rows}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What the search comes to, computed in this process without Ray."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "space.yaml").write_text(SPACE)
    space = read_space(str(folder / "space.yaml"))
    plan = Plan(Store(folder / "store"), Cluster())
    for run in trial_runs(space, draw_trials(space)):
        plan.add(run)
    records = {}
    checkpoints = Checkpoints(folder / "checkpoints", "s")
    train_in_process(plan.runs, checkpoints, Cluster(), lambda i, r, place: records.update({i: r}), lambda steps: None)
    return {i: (r["status"], r["accuracy"], r["loss"], r["figures"]) for i, r in records.items()}


def check_mlflow(client, runs):
    experiment = client.get_experiment_by_name("search")
    found = client.search_runs([experiment.experiment_id])
    children = [r for r in found if "mlflow.parentRunId" in r.data.tags]
    assert sorted(r.data.tags["run_id"] for r in children) == sorted(runs), "one MLflow run for each network"
    assert len(found) == len(children) + 1 and {r.info.status for r in found} == {"FINISHED"}


def test_kill_the_driver_and_go_on(search, home, client, uninterrupted):
    driver = search()
    until(some_parts(home, 2))
    driver.kill()
    driver.wait()
    manifest = {p.name: p.read_text() for p in (home / ".presyn" / "manifests").iterdir()}
    assert len(results(home)) < 4, "it was killed in the middle"
    before = progress(home)
    assert search().wait(timeout=120) == 0, (home / "log1").read_text()
    assert {p.name: p.read_text() for p in (home / ".presyn" / "manifests").iterdir()} == manifest
    assert results(home) == uninterrupted
    assert_nothing_was_trained_again(home, before)
    check_mlflow(client, uninterrupted)
    assert not list((home / ".presyn" / "checkpoints").glob("*/*.pt")), "checkpoints of finished runs are removed"
    third = search()
    assert third.wait(timeout=60) == 0 and "4 in the store, 0 to train" in (home / "log2").read_text()
    check_mlflow(client, uninterrupted)


def test_kill_a_worker_and_nothing_is_lost(search, home, uninterrupted):
    driver = search()
    until(some_parts(home, 2))
    workers = [p for p in psutil.Process(driver.pid).children(recursive=True) if "ray::ImplicitFunc" in " ".join(p.cmdline())]
    assert workers
    before = progress(home)
    workers[0].kill()
    assert driver.wait(timeout=120) == 0, (home / "log0").read_text()
    assert results(home) == uninterrupted
    assert_nothing_was_trained_again(home, before)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_stops_cleanly_and_says_how_to_go_on(search, home, uninterrupted, sent, code):
    driver = search()
    until(some_parts(home, 1))
    os.kill(driver.pid, sent)
    assert driver.wait(timeout=60) == code
    said = (home / "log0").read_text()
    assert "go on with: presyn search --space space.yaml" in said and "Traceback" not in said
    before = progress(home)
    assert search().wait(timeout=120) == 0
    assert results(home) == uninterrupted
    assert_nothing_was_trained_again(home, before)


FULL = """
import sys
from pipeline import cli
from pipeline.records.store import Store

put = Store.put

def full(self, *arguments):
    if self.ids():
        raise self._unwritable(OSError(28, "No space left on device"))
    return put(self, *arguments)

Store.put = full
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_store_that_fills_up_stops_with_one_message_and_loses_nothing(search, home, uninterrupted):
    command = [sys.executable, "-c", FULL, "search", "--space", "space.yaml", "--results", "out"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "presyn: The store" in done.stderr and "No space left on device" in done.stderr
    assert len(results(home)) == 1
    assert search().wait(timeout=120) == 0
    assert results(home) == uninterrupted
