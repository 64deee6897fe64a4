"""Whole runs with dense and with lit products are paired run by run."""

import pandas as pd
import pytest

from bench.arithmetics import COLUMNS, compare, read_rows


def rows(arithmetic, *runs):
    lines = [[run_id, "sgd", "mnist", status, accuracy, arithmetic] for run_id, status, accuracy in runs]
    return pd.DataFrame(lines, columns=COLUMNS)


def test_only_runs_that_both_finished_are_paired():
    before = rows("dense", ("a", "finished", 0.9), ("b", "finished", 0.8), ("c", "finished", 0.7), ("d", "diverged", None))
    now = rows("lit", ("a", "finished", 0.91), ("b", "finished", 0.8), ("d", "finished", 0.1), ("e", "finished", 0.2))
    ignored = rows("lit", ("c", "finished", 0.1)), rows("dense", ("c", "finished", 0.2))
    (line,) = compare(pd.concat([before, before, ignored[0]]), pd.concat([now, ignored[1]])).to_dict("records")
    assert (line["method"], line["benchmark"], line["runs"]) == ("sgd", "mnist", 2), "a run in two files counts once"
    assert (line["dense"], line["lit"], line["lit − dense"]) == ("85.00", "85.50", "+0.50 ± 0.50")
    assert float(line["p"].removeprefix("p = ")) == pytest.approx(0.5)


def test_a_row_that_names_no_arithmetic_is_dense_and_other_files_hold_none():
    text = "run_id,method,benchmark,status,mean_accuracy\na,sgd,mnist,finished,0.9\nb,sgd,mnist,dropped,\n"
    read = read_rows(text)
    assert read.arithmetic.tolist() == ["dense", "dense"] and read.mean_accuracy.isna().tolist() == [False, True]
    assert read_rows("runs,nodes\n1,2\n").empty
