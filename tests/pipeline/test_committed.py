"""The committed results are what their rows make: every stage, performed from them with nothing to train."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

import pipeline.perform
from pipeline.ask import foresee, in_order, refuse
from pipeline.cli import main
from pipeline.experiments.catalogue import EXPERIMENTS, Choice, chosen_stages, shown_stages
from pipeline.plan import Plan
from pipeline.records.csvs import holds_rows, read_rows
from pipeline.records.results import Results
from pipeline.report.drawing import Picture
from pipeline.stage import with_latex
from pipeline.workspace import Workspace
from presyn.runs import identify
from sweeps.cluster import Cluster

RESULTS = Path(__file__).parents[2] / "results"
CSVS = [p for p in sorted(RESULTS.rglob("*.csv")) if holds_rows(p)]
ADDED = ["series", "digest"]  # columns that older CSVs lack


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

    def train(plan, writer, title, here):
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
    "ablations/searched": "ablate --seeds 2019-2026",
    "ablations/published": "ablate --published-parameters",
    "departures": "ablate --departures",
}


NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def same_text(ours, theirs):
    """The same words, and the same numbers: other versions of libraries may write the last of many digits otherwise."""
    assert NUMBER.sub("0", ours) == NUMBER.sub("0", theirs)
    numbers = ([float(n) for n in NUMBER.findall(text)] for text in (ours, theirs))
    return all(a == pytest.approx(b, rel=1e-9) for a, b in zip(*numbers, strict=True))


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
        elif "series" in theirs.read_text(encoding="utf-8").split("\n", 1)[0]:  # which rows of before came without
            same_table(ours, theirs)
            compared += 1
        else:
            assert same_text(ours.read_text(encoding="utf-8"), theirs.read_text(encoding="utf-8")), theirs
            compared += 1
    assert compared >= 3


def test_with_an_empty_store_no_experiment_would_drop_a_committed_row(rows):
    """As in a fresh clone; an experiment that asks a second time has not asked for all of its rows yet."""
    results = Results(RESULTS)
    plan = Plan(Workspace.open(RESULTS).store, Cluster())
    foreseen = foresee(in_order(chosen_stages(list(EXPERIMENTS), Choice(RESULTS))), plan, results)
    assert len(foreseen) > 50 and not plan.rows
    for asked in foreseen:
        refuse(asked, RESULTS)


def test_the_ids_of_all_committed_rows_are_theirs():
    for row in committed().itertuples():
        assert row.run_id == identify(json.loads(row.config), row.data_sha256, row.rules_version)


STAGES = {stage.name: stage for stage in shown_stages() if (RESULTS / stage.name / "runs.csv").exists()}


@pytest.mark.parametrize("name", STAGES)
def test_what_a_stage_makes_of_its_committed_rows_is_committed(name):
    made = STAGES[name].remake(read_rows(RESULTS / name / "runs.csv"), Results(RESULTS))
    for file, content in with_latex(STAGES[name], made).items():
        if file.endswith((".csv", ".md", ".tex")):
            text = content.to_csv(index=False) if isinstance(content, pd.DataFrame) else content
            assert same_text(text, (RESULTS / name / file).read_text(encoding="utf-8")), file
    assert {f.stem for f in (RESULTS / "figures").glob("*.svg")} >= set(made.figures) >= set(STAGES[name].figures)
