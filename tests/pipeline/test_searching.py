"""Searches that learn from their results: the same trials, in the same order, with the same values, whatever happens on the way."""

import json
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.experiments.search.stage import search
from pipeline.perform import perform
from pipeline.records.csvs import import_rows
from pipeline.workspace import Workspace
from presyn import PresynError
from sweeps.space import read_space

SPACE = """
method: presynaptic
benchmark: permuted-digits
sampler: tpe
trials: 10
batch: 4
sampler_seed: 1
halving: {after: [1, 2], keep: 0.5}
fixed: {validation: 300, epochs: 1, tasks: 3, hidden: [16], samples: 2, tests: new, drop_below: 0.12}
search:
  p_up: {low: 0.01, high: 0.1}
  g_lim: {low: 1.0e-4, high: 1.0e-2, log: true}
  eta0: {choices: [0.05, 0.1]}
"""


@pytest.fixture
def space(home):
    Path("space.yaml").write_text(SPACE)
    return read_space("space.yaml")


def at(name):
    """A workspace of its own under the home."""
    return Workspace.open(Path(name) / "out", store=str(Path(name) / "store"), mlflow=f"sqlite:///{Path('.presyn/mlflow.db').absolute()}")


def carry_out(space, workspace, **how):
    """The table of trials and the lines of all runs, without times."""
    perform([search(space, workspace.store.manifests)], workspace, here=True, **how)
    return results(workspace, space)


def results(workspace, space):
    folder = workspace.results / "search" / space.name
    runs = pd.read_csv(folder / "runs.csv")
    series = runs.series.map(lambda s: {k: v for k, v in json.loads(s).items() if k not in ("seconds", "ended")})
    kept = ["trial", "tasks", "run_id", "status", "mean_accuracy", "forgetting", "accuracy"]
    return (folder / "trials.csv").read_text(), runs[[k for k in kept if k in runs]].to_csv(), series.to_list()


def test_tpe_with_halving_is_the_same_alone_after_an_import_and_without_going_on(space, monkeypatch, capsys):
    first = at("first")
    whole = carry_out(space, first)
    said = capsys.readouterr().err
    assert "round 3 of 3, 10 of 10 trials" in said and "network steps saved by halving" in said
    table = pd.read_csv(first.results / "search" / "space" / "trials.csv")
    assert set(table["round"]) == {1, 2, 3} and {"finished", "halved"} <= set(table.status)
    assert not list(first.store.checkpoints.glob("*/*.pt")), "no state is left behind"
    # Rows that were imported left no state to go on from: the longer runs of other trials come out the same all the same.
    rows = first.results / "search" / "space" / "runs.csv"
    frame = rows.read_text().splitlines(keepends=True)
    Path("some.csv").write_text("".join(frame[:1] + frame[1::3]))
    second = at("second")
    assert import_rows([Path("some.csv")], second.store)[0] == len(frame[1::3])
    assert carry_out(space, second) == whole
    assert carry_out(space, first) == whole, "and when nothing is left to train"
    monkeypatch.setattr("pipeline.train.begin_longer_runs", lambda *_: None)
    assert carry_out(space, at("third")) == whole
