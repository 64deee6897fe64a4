"""How often the rule for verdicts errs, simulated again: the committed table, what is asked of it, and the rule itself."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.experiments.table1.claims import TABLE
from pipeline.experiments.table1.rows import accuracies, as_published
from pipeline.experiments.verdicts import rates
from pipeline.paper import RULE, SEARCHED_ON
from pipeline.paper.margins import accuracy_margin
from pipeline.paper.published import published_table
from pipeline.records.csvs import read_file
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed
from pipeline.report.old_rule import with_old_verdicts
from pipeline.report.rule import decide
from pipeline.report.statistics import Sample
from pipeline.report.verdicts import printed_mean

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def spread():
    return rates.spreads(Results(RESULTS))


@pytest.fixture(scope="module")
def simulated(spread):
    return rates.simulate(spread)


@pytest.fixture(scope="module")
def table(simulated):
    return rates.over_cells(simulated).set_index(["rule", "n", "shift"])


def test_the_committed_table_is_made_again(simulated, spread):
    assert rates.over_cells(simulated).to_csv(index=False) == (RESULTS / "verdict-rates.csv").read_text(), "run make verify"
    assert rates.as_markdown(simulated, spread) == (RESULTS / "verdict-rates.md").read_text(), "run make verify"


def test_three_points_are_found_at_ten_seeds(simulated, table):
    assert rates.found_on(simulated, SEARCHED_ON, 3.0, 10)[RULE] >= 0.9
    assert table.not_reproduced[rates.NEW, 10, 3.0] >= 0.9


def test_equal_means_are_rarely_called_different(table):
    assert table.not_reproduced[rates.NEW].xs(0.0, level="shift").max() <= 0.05


def test_twice_the_margin_is_rarely_called_reproduced(simulated):
    assert rates.at_twice_the_margin(simulated).loc[rates.NEW].max() <= 0.05


@pytest.mark.parametrize("shift", rates.SHIFTS)
def test_more_seeds_decide_more_and_better(table, shift):
    of_shift = table.loc[rates.NEW].xs(shift, level="shift")
    assert of_shift.undecided.is_monotonic_decreasing and of_shift.undecided.iloc[-1] < 0.01
    right = of_shift.reproduced if shift == 0 else of_shift.not_reproduced
    assert right.is_monotonic_increasing


def test_the_simulated_rules_are_the_rules(spread):
    """The verdicts on drawn runs, by the functions that decide claims, are those of the simulation on the same numbers."""
    rng, n = np.random.default_rng(7), 6
    cells = {c: s for c, s in spread.items() if c[0] != "ewc"}
    margin = np.array([accuracy_margin(benchmark, method) for method, benchmark in cells])
    for shift in (0.0, 2.0, 4.0):
        ours = [rng.normal(80 + shift, s, n) for s in cells.values()]
        theirs = [Sample.from_values(rng.normal(80, s, rates.REPEATED)) for s in cells.values()]
        found = [
            printed_mean("L2", f"{cell}", TABLE, BySeed(pd.Series(values)), printed, unit="%", margin=m)
            for cell, values, printed, m in zip(cells, ours, theirs, margin, strict=True)
        ]
        difference = np.array([[values.mean() - printed.mean for values, printed in zip(ours, theirs, strict=True)]])
        spreads = np.array([[values.std(ddof=1) for values in ours]])
        print_spreads = np.array([[printed.standard_error * rates.REPEATED**0.5 for printed in theirs]])
        for name, verdicts in (
            (rates.NEW, [v.verdict for v in decide(found)]),
            (rates.OLD, [v.old_verdict for v in with_old_verdicts(found)]),
        ):
            right, wrong = rates.RULES[name](difference, spreads, print_spreads, n, margin)
            said = np.where(right, "reproduced", np.where(wrong, "not reproduced", "undecided"))[0]
            assert verdicts == said.tolist()


def test_without_all_cells_nothing_is_simulated(tmp_path):
    assert len(published_table()) == 20
    rows = pd.read_csv(RESULTS / "table1" / "runs.csv", dtype=str, keep_default_na=False)
    (tmp_path / "table1").mkdir()
    rows[rows.method == "sgd"].to_csv(tmp_path / "table1" / "runs.csv", index=False)
    assert rates.spreads(Results(tmp_path)) == {}


def test_cells_whose_seeds_agree_to_the_digit_are_not_simulated(tmp_path):
    rows = read_file(RESULTS / "table1" / "runs.csv").cells.drop(columns="digest")
    (tmp_path / "table1").mkdir()
    rows[rows.seed.isin(["2020", "2021"])].to_csv(tmp_path / "table1" / "runs.csv", index=False)
    assert accuracies(as_published(Results(tmp_path)), "joint", "split-fashion").values.std() == 0
    assert rates.spreads(Results(tmp_path)) == {}
