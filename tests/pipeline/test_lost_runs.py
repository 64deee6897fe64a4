"""Runs that were lost end no command: an experiment says how many there were, and shows what is left."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.ask import lost_runs
from pipeline.cli import main
from pipeline.experiments.baselines.stage import SearchedAgain
from pipeline.experiments.catalogue import shown_stages
from pipeline.experiments.energy.stage import Energy
from pipeline.experiments.search.stage import search
from pipeline.perform import perform
from pipeline.records.files import write_whole
from pipeline.records.mlflow.notes import read_notes
from pipeline.records.results import Results
from pipeline.stage import Known, Made, Stage, Wish
from pipeline.workspace import Workspace
from presyn import BENCHMARKS, PresynError, make_run
from sweeps.space import read_space

COMMITTED = Path(__file__).parents[2] / "results"
WITH_ROWS = [s for s in shown_stages() if s.file(COMMITTED) is not None and s.file(COMMITTED).exists()]


def remade(stage, frame, folder):
    """What a stage makes of lines of its CSV, written to a folder as `perform` writes it."""
    lost = len(frame) and not stage.shows_lost and not (frame.status == "finished").any()
    made = lost_runs(stage, frame) if lost else stage.remake(frame, Results(COMMITTED))
    for name, content in made.files.items():
        write_whole(folder / name, content)
    for name, picture in made.figures.items():
        write_whole(folder / f"{name}.png", picture)
    return made


@pytest.mark.parametrize("stage", WITH_ROWS, ids=lambda s: s.name.replace("/", "-"))
@pytest.mark.parametrize("lost", ["all", "first condition", "all but one"])
def test_every_experiment_shows_what_is_left(stage, lost, tmp_path):
    frame = Results(COMMITTED).rows(stage.name, stage.columns)
    condition = next((c for c in ("model", "method", "ablation") if c in frame), "benchmark")
    gone = {
        "all": np.ones(len(frame), bool),
        "first condition": (frame[condition] == frame[condition].iloc[0]).to_numpy(),
        "all but one": np.arange(len(frame)) > 0,
    }[lost]
    frame.loc[gone, "status"] = "diverged"
    made = remade(stage, frame, tmp_path)
    assert isinstance(made, Made) and (made.files or made.figures)
    if lost == "all":
        assert f"every run was lost ({len(frame)})" in made.message or stage.shows_lost


@pytest.fixture
def diverging(monkeypatch):
    """Every run counts as diverged; whether one with a large step does depends on how a processor rounds."""
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda tensor: torch.zeros_like(tensor, dtype=torch.bool))


def test_a_command_whose_runs_all_diverge_ends_well(home, here, diverging, capsys):
    words = "reproduce uniform-start --digits --seeds 1 --set epochs=1 hidden=[8] --results out"
    for _ in range(2):  # and so does the second try
        assert main(words.split()) == 0
        assert "every run was lost (1)" in " ".join(capsys.readouterr().err.split())
    assert pd.read_csv("out/uniform-start/table.csv").lost.sum() == len(pd.read_csv("out/uniform-start/runs.csv"))


def test_nothing_is_trained_for_want_of_what_was_lost(home, here, diverging, capsys):
    words = "reproduce matched-release --digits --seeds 1 --set epochs=1 hidden=[8] --results out"
    assert main(words.split()) == 0
    message = "fixed release, p matched at each penalty: nothing to train, because energy gave nothing to go on from."
    assert message in " ".join(capsys.readouterr().err.split()) and not Path("out/matched-release").exists()


def test_a_group_that_goes_on_with_a_winner_says_that_there_is_none():
    group = SearchedAgain(search(read_space("ewc-permuted-fashion")))
    known = Known(values={group.search.name: None})
    assert group.ask(known) == []
    made = group.make(pd.DataFrame(), known)
    assert "nothing to train, because Search ewc-permuted-fashion gave nothing to go on from" in made.message and not made.files


def test_a_summary_of_more_than_999_epochs(tmp_path):
    frame = Results(COMMITTED).rows("energy", Energy.columns).head(2).copy()
    longer = {"energy": 1.0, "information": 1.5, "neuronal_energy": 2.0, "sampled_accuracy": 0.9, "passes": 3}
    frame["series"] = json.dumps({name: [value] * 1200 for name, value in longer.items()})
    remade(Energy(BENCHMARKS["mnist"]), frame, tmp_path)
    assert pd.read_csv(tmp_path / "summary.csv").epoch.max() == 1200


def test_settings_go_to_the_models_that_have_them(home, here):
    words = "reproduce energy --digits --seeds 1 --set epochs=1 hidden=[8] p_up=0.05 --results out"
    assert main(words.split()) == 0
    rows = pd.read_csv("out/energy/runs.csv")
    p_up = {model: json.loads(config).get("p_up") for model, config in zip(rows.model, rows.config, strict=True)}
    assert p_up["plastic"] == 0.05 and p_up["deterministic"] is None


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled(Stage):
    """Two runs with a label that has the name of a column of its own."""

    label: str
    name, title, columns = "labelled", "labelled", ("seed",)

    def ask(self, known):
        settings = {"epochs": 1, "tasks": 1, "hidden": [8]}
        return [] if known.rows else [Wish(make_run("sgd", "split-digits", s, settings), {self.label: "half"}) for s in (1, 2)]

    def make(self, frame, known):
        return Made(frame[["seed"]])


@pytest.mark.parametrize("label", ["benchmark", "seed", "status", "digest", "mean_accuracy"])
def test_a_label_with_the_name_of_a_column_is_refused_before_anything_is_trained(home, label):
    workspace = Workspace.open(Path("out"))
    with pytest.raises(PresynError, match=f"label.*{label}|{label}.*label"):
        perform([Labelled(label)], workspace, here=True)
    assert not list(workspace.store.ids()) and not read_notes(workspace.store)
