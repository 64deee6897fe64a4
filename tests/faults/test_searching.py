"""A search that learns from its results, with halving, on machines that fail: the same trials, in order, to the last bit."""

import os
import random
import time
from pathlib import Path

import pytest
from conftest import Home
from nodes import Machine, possible, spread, until

from pipeline.experiments.search.stage import search
from pipeline.perform import perform
from pipeline.workspace import Workspace
from sweeps.space import read_space

SPACE = """
method: presynaptic
benchmark: permuted-digits
sampler: tpe
trials: 12
batch: 4
sampler_seed: 1
halving: {after: [1, 3], keep: 0.5}
fixed: {validation: 300, epochs: 20, samples: 2, tests: new}
search:
  p_up: {low: 0.01, high: 0.1}
  g_lim: {low: 1.0e-4, high: 1.0e-2, log: true}
  eta0: {choices: [0.05, 0.1]}
"""
COMMAND = "search --space space.yaml --cohort 1 --results out"
KILLS = int(os.environ.get("PRESYN_KILLS", "4"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What the search comes to in this process, without Ray: its table of trials, and the rows."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "space.yaml").write_text(SPACE)
    workspace = Workspace.open(folder / "out", store=str(folder / ".presyn"), mlflow=f"sqlite:///{folder}/mlflow.db")
    perform([search(read_space(str(folder / "space.yaml")), workspace.store.manifests)], workspace, here=True)
    return table(folder), Home(folder, {}).outcomes()


def table(folder: Path) -> str:
    return (folder / "out" / "search" / "space" / "trials.csv").read_text()


@pytest.fixture
def machine(tmp_path, alone):
    if not possible():
        pytest.skip("needs a Linux where namespaces can be made (root)")
    (tmp_path / "space.yaml").write_text(SPACE)
    made = Machine(tmp_path)
    yield made
    made.close()


def check(folder, alone):
    home = Home(folder, alone[1])
    assert table(folder) == alone[0] and home.outcomes() == alone[1]
    assert not list((home.store / "checkpoints").glob("*/*")), "no state is left behind"


def test_four_nodes_of_which_some_are_killed(machine, tmp_path, alone):
    machine.cluster(4)
    driver, rng = machine.presyn(COMMAND), random.Random()
    for _ in range(4):
        time.sleep(rng.uniform(3, 15))
        if driver.poll() is not None:
            break
        number = rng.choice([2, 3, 4])
        machine.kill(number)
        time.sleep(rng.uniform(1, 5))
        machine.node(number, "--num-cpus=1")
    assert driver.wait(timeout=900) == 0, machine.said("driver")
    assert "Traceback" not in machine.said("driver")
    check(tmp_path, alone)


def test_a_driver_that_is_killed_again_and_again(machine, tmp_path, alone):
    machine.cluster(2)
    rng, manifests = random.Random(), {}
    for moment in spread(KILLS, 5, 25, rng):
        driver = machine.presyn(COMMAND)
        time.sleep(moment)
        for process in machine.processes("pipeline.cli"):
            process.kill()
        driver.wait()
        frozen = {p.name: p.read_text() for p in (tmp_path / ".presyn" / "manifests").glob("*.json")}
        assert manifests.items() <= frozen.items(), "a round that was drawn stays as it is"
        manifests = frozen
    until(lambda: not machine.processes("pipeline.cli"))
    assert machine.presyn(COMMAND).wait(timeout=900) == 0, machine.said("driver")
    check(tmp_path, alone)
