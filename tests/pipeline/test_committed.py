"""The committed results are what their rows make: every stage, performed from them with nothing to train, byte for byte."""

import json
from pathlib import Path

import pandas as pd
import pytest

import pipeline.perform
from pipeline.cli import main
from pipeline.experiments.energy import Energy, Sparsity
from pipeline.experiments.lifelong import lifelong
from pipeline.experiments.paper import SEEDS
from pipeline.experiments.perceptron import Perceptrons
from pipeline.experiments.releases import EnergySettings, FixedRelease, UniformStart
from pipeline.plan import Plan
from pipeline.records.csvs import holds_rows
from pipeline.report.figures import Picture
from pipeline.stage import Known
from presyn import BENCHMARKS
from presyn.runs import identify

RESULTS = Path(__file__).parents[2] / "results"
CSVS = [p for p in sorted(RESULTS.rglob("*.csv")) if holds_rows(p)]
ADDED = ["series"]  # columns that older CSVs lack


def committed():
    return pd.concat([pd.read_csv(p) for p in CSVS], ignore_index=True)


@pytest.fixture
def rows(home, monkeypatch):
    """The hashes of the data without the data; training forbidden; and pictures not drawn, which tests of their own draw."""
    frame = committed()
    datasets = frame.config.map(lambda c: json.loads(c)["dataset"])
    sha256 = frame.groupby(datasets).data_sha256.agg(["first", "nunique"])
    assert (sha256["nunique"] == 1).all()
    monkeypatch.setattr(Plan, "sha256", lambda self, run: sha256["first"][run.benchmark.dataset])
    monkeypatch.setattr(Picture, "savefig", lambda self, target, **options: target.write(b"drawn"))

    def train(plan, tracker, title, here):
        assert not plan.missing, f"{title} would train {len(plan.missing)} runs"

    monkeypatch.setattr(pipeline.perform, "train", train)
    return frame


COMMANDS = {
    "table1": "table1 --benchmarks split-mnist split-fashion permuted-mnist permuted-fashion",
    "search/ewc-split-mnist": "search --space ewc-split-mnist",
    "search/ewc-permuted-mnist": "search --space ewc-permuted-mnist --trials 24",
    "search/sgd-permuted-mnist": "search --space sgd-permuted-mnist --trials 24",
    "search/bgd-permuted-mnist": "search --space bgd-permuted-mnist --trials 3",
    "search/presynaptic-permuted-mnist": "search",
    "ablations/searched": "ablate",
    "ablations/published": "ablate --published-parameters",
    "departures": "ablate --departures",
}


def same_table(ours, theirs):
    ours, theirs = (pd.read_csv(p) for p in (ours, theirs))
    pd.testing.assert_frame_equal(ours.drop(columns=ADDED, errors="ignore"), theirs.drop(columns=ADDED, errors="ignore"))


@pytest.mark.parametrize("folder", COMMANDS)
def test_a_stage_comes_out_as_it_is_committed(rows, folder):
    # A run that two stages have was trained twice, so each is made of its own rows; Table 1 of its search's as well.
    own = [p for p in CSVS if p.is_relative_to(RESULTS / folder)]
    own += [p for p in CSVS if folder == "table1" and p.parent.name == "presynaptic-permuted-mnist"]
    assert main(["import", *map(str, own)]) == 0
    assert main([*COMMANDS[folder].split(), "--results", "out"]) == 0
    compared = 0
    for theirs in sorted((RESULTS / folder).rglob("*.*")):
        ours = Path("out") / theirs.relative_to(RESULTS)
        if theirs.suffix == ".png" or not theirs.is_file():
            assert ours.exists()
        elif "series" in theirs.read_text().split("\n", 1)[0]:
            same_table(ours, theirs)
        else:
            assert ours.read_bytes() == theirs.read_bytes(), theirs
            compared += 1
    assert compared >= 3


def test_the_ids_of_all_committed_rows_are_theirs():
    for row in committed().itertuples():
        assert row.run_id == identify(json.loads(row.config), row.data_sha256, row.rules_version)


ON = BENCHMARKS["mnist"]
ON_IMAGES = [kind(ON) for kind in (Energy, Sparsity, EnergySettings, UniformStart, FixedRelease)]
PURE = {s.name: s for s in (*ON_IMAGES, Perceptrons(), lifelong(RESULTS, SEEDS))}


@pytest.mark.parametrize("name", PURE)
def test_what_a_stage_makes_of_its_committed_rows_is_committed(name):
    path = RESULTS / name / "runs.csv"
    if not path.exists():
        pytest.skip(f"{name} has no committed rows")
    made = PURE[name].make(pd.read_csv(path), Known())
    for file, content in made.files.items():
        text = content.to_csv(index=False) if isinstance(content, pd.DataFrame) else content
        assert text == (RESULTS / name / file).read_text(), file
    assert {f.stem for f in (RESULTS / "figures").glob("*.svg")} >= set(made.figures)
