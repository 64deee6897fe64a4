"""A reader's spot check: committed runs are drawn with the weight of what rests on them, trained again, and compared."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import pipeline.experiments.verdicts.again as again_module
from pipeline.cli import main
from pipeline.experiments.catalogue import CLAIMING
from pipeline.experiments.verdicts.again import (
    committed_rows,
    compare,
    draw_rows,
    in_words,
    last_check,
    named_rows,
    refuse_different,
    train_again,
)
from pipeline.experiments.verdicts.stage import all_verdicts
from pipeline.records.results import Results
from presyn import PresynError
from sweeps.cluster import Cluster

COMMITTED = Path(__file__).parents[2] / "results"


@pytest.fixture
def results(home):
    """The rows of the perceptrons, which train in a second and need no images."""
    shutil.copytree(COMMITTED / "perceptron", Path("results/perceptron"))
    return Results(Path("results"))


def again(rows):
    return train_again(rows, Path(".presyn"), Cluster(), here=True)


def test_committed_runs_repeat_and_what_was_seen_is_kept_for_the_page(results):
    verdicts = all_verdicts(results, CLAIMING)
    committed = committed_rows(results)
    rows = draw_rows(committed, verdicts, 6, 0)
    assert rows == draw_rows(committed, verdicts, 6, 0) != draw_rows(committed, verdicts, 6, 1)
    table = compare(rows, again(rows))
    refuse_different(table)
    assert table.same.all() and "6 gave the same to every digit" in in_words(table)
    assert not Path(".presyn/again").exists(), "the next check trains again"


def test_runs_on_different_numbers_of_patterns_repeat_when_ray_trains_them_together(results):
    """By name, as a reader's command: each run gets its own number of patterns, although their data have one sha256."""
    rows = committed_rows(results).values()
    chosen = [next(row.run_id for row in rows if row.config["patterns"] == patterns) for patterns in (500, 2000)]
    command = [sys.executable, "-m", "pipeline.cli", "verify", "--runs", *chosen]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 gave the same to every digit" in " ".join(done.stdout.split())
    assert last_check(Path("results")) is None, "what was chosen by hand is no random draw, of which the page tells"


def test_a_consistent_edit_of_a_row_is_found(results):
    """Value, series and mean changed together, with a digest that fits: a check of the file alone cannot see that."""
    rows = committed_rows(results)
    (row,) = named_rows(rows, [next(iter(rows))])
    accuracy = [[None if a is None else a / 2 for a in line] for line in row.record.accuracy]
    edited = replace(row, record=replace(row.record, accuracy=accuracy), mean_accuracy=row.mean_accuracy / 2)
    (new,) = again([row])
    # A run whose driver was killed after its last checkpoint has a row that names no device.
    assert compare([row], [replace(new, provenance={})]).device[0] == ""
    table = compare([replace(edited, provenance=new.provenance)], [new])
    assert not table.same[0] and "0 gave the same to every digit. The others differ by +" in in_words(table)
    with pytest.raises(PresynError, match=f"{row.run_id} did not repeat on the kind of machine"):
        refuse_different(table)


def test_rounding_of_another_machine_is_no_difference_and_a_shift_is():
    def spot_check(differences):
        again = [80 + d for d in differences]
        refuse_different(pd.DataFrame({"committed": 80.0, "again": again, "same": False, "same_machine": False}))

    spot_check([0.4, -0.6, 0.1, -0.2, 0.5])
    spot_check([0.9])
    spot_check([0.0, 0.0, 0.0])  # they differ in what is no accuracy
    with pytest.raises(PresynError, match="too much for rounding"):
        spot_check([2.1, 2.4, 1.9, 2.2, 2.0])


def test_runs_of_other_code_and_of_methods_that_are_not_loaded_are_not_drawn(results, monkeypatch):
    """They could not be repeated, which would be said after the training of all that were drawn."""
    whole = committed_rows(results)
    monkeypatch.setattr(again_module, "changed_code", lambda method: "edited" if method == "presynaptic-perceptron" else None)
    edited = committed_rows(results)
    assert {row.config["method"] for row in edited.values()} == {"perceptron"} and len(edited) < len(whole)
    monkeypatch.setattr(again_module, "is_known", lambda method, code: True)
    row = replace(next(iter(whole.values())), run_id="trained by code whose digest was in the id and was accepted later")
    monkeypatch.setattr(again_module, "changed_code", lambda method: None)
    assert not again_module._can_be_repeated(row)
    monkeypatch.setattr(again_module, "PERCEPTRONS", {})
    assert not committed_rows(results)
    with pytest.raises(PresynError, match="no finished runs of today's code have ids that begin so"):
        named_rows(edited, [next(i for i in whole if i not in edited)])


@pytest.mark.parametrize("words", ["--again 0", "--again 99999", "--runs zzz", "--again x"])
def test_what_cannot_be_drawn_is_said_in_a_line(results, capsys, words):
    assert main(["verify", *words.split()]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("presyn: ") and words.split()[0] in said[-1]


def test_a_damaged_file_of_the_last_check_is_named(results):
    assert last_check(Path("results")) is None
    Path("results/again.csv").write_text("date,run_id\n1,2\n")
    with pytest.raises(PresynError, match="results/again.csv is not what presyn verify --again writes"):
        last_check(Path("results"))
