"""How often the rule for verdicts errs: simulated for the cells of Table 1 with the spreads of our runs, beside the former one.

In each draw the paper has three networks in each cell and we have n, whose true mean lies a shift away from the paper's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.experiments.table1.rows import accuracies, as_published
from pipeline.paper import METHOD_NAMES, SEARCHED_ON
from pipeline.paper.margins import accuracy_margin
from pipeline.paper.published import published_table
from pipeline.records.results import Results
from pipeline.report import old_rule
from pipeline.report.rule import ALPHA
from pipeline.report.tables import markdown_table

SEEDS = (3, 5, 10, 20, 60, 200, 1000)
SHIFTS = (0.0, 1.0, 2.0, 3.0, 5.0)
"""Points; the margins are from 1.5 to 3.3, so 2 is about one of them."""
DRAWS, GENERATOR_SEED = 1000, 69884
REPEATED = 3
"""Networks in each cell of the paper."""
NEW, OLD = "new", "old"
AT_TWICE_THE_MARGIN = "twice the margin"
"""A shift of each cell's own."""
LOOKS = {"L23": (3, 6, 10, 14), "A4 and A5": (3, 8), "M1": (5, 14)}
"""Claims whose seeds were added while they were undecided -> with how many seeds they were looked at."""
VERDICT_COLUMNS = ("reproduced", "not_reproduced", "undecided")

Verdicts = tuple[np.ndarray, np.ndarray]
"""reproduced and not reproduced, each (draws, cells)."""


def spreads(results: Results) -> Mapping[tuple[str, str], float]:
    """(method, benchmark) -> standard deviation over our seeds in points.

    Empty unless every cell of Table 1 has two seeds or more that differ.
    """
    rows = as_published(results)
    cells = {cell: accuracies(rows, *cell).finished for cell in published_table()}
    complete = all(len(set(values)) > 1 for values in cells.values())
    return {cell: float(np.std(values, ddof=1)) for cell, values in cells.items()} if complete else {}


def simulate(spread: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """Shares of verdicts of both rules: a line for each rule, number of our seeds, shift and cell.

    Args:
        spread: Of each cell, as `spreads` gives them.

    Returns:
        Columns rule, n, shift, method, benchmark, reproduced, not_reproduced, undecided.
    """
    margin = np.array([accuracy_margin(benchmark, method) for method, benchmark in spread])
    lines: list[dict[str, Any]] = []
    for n in SEEDS:
        for shift in (*SHIFTS, AT_TWICE_THE_MARGIN):
            points = 2 * margin if shift == AT_TWICE_THE_MARGIN else np.full(len(margin), float(shift))
            drawn = _draw(np.array(list(spread.values())), n, points)
            for name, rule in RULES.items():
                for cell, shares in zip(spread, _shares(*rule(*drawn, n, margin)), strict=True):
                    lines.append({"rule": name, "n": n, "shift": shift, "method": cell[0], "benchmark": cell[1], **shares})
    return pd.DataFrame(lines)


def _draw(spread: np.ndarray, n: int, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences of means, our standard deviations and the paper's, each (draws, cells)."""
    rng, size = np.random.default_rng(GENERATOR_SEED), (DRAWS, len(spread))
    difference = shift + spread * (rng.normal(size=size) / np.sqrt(n) - rng.normal(size=size) / np.sqrt(REPEATED))
    ours = spread * np.sqrt(rng.chisquare(n - 1, size=size) / (n - 1))
    return difference, ours, spread * np.sqrt(rng.chisquare(REPEATED - 1, size=size) / (REPEATED - 1))


def _by_rule(difference: np.ndarray, ours: np.ndarray, theirs: np.ndarray, n: int, margin: np.ndarray) -> Verdicts:
    """`rule.decide` for all draws at once."""
    error = ours * np.sqrt(1 / REPEATED + 1 / n)
    wrong = stats.false_discovery_control(2 * stats.t.sf(abs(difference) / error, n - 1), axis=1) < ALPHA
    near = np.maximum(abs(difference), stats.t.ppf(1 - ALPHA / 2, n - 1) * error) <= margin
    return ~wrong & near, wrong


def _by_old_rule(difference: np.ndarray, ours: np.ndarray, theirs: np.ndarray, n: int, margin: np.ndarray) -> Verdicts:
    """`old_rule.with_old_verdicts` for all draws at once."""
    a, b = ours**2 / n, theirs**2 / REPEATED
    error, df = np.sqrt(a + b), (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (REPEATED - 1))
    differs = _holm(2 * stats.t.sf(abs(difference) / error, df))
    within = _holm(stats.t.sf((old_rule.MARGIN - abs(difference)) / error, df)) < ALPHA
    return within, ~within & (differs < ALPHA)


def _holm(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p, axis=1)
    raised = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(raised, axis=1), 1), axis=1)
    return adjusted


RULES: Mapping[str, Callable[..., Verdicts]] = {OLD: _by_old_rule, NEW: _by_rule}


def _shares(reproduced: np.ndarray, wrong: np.ndarray) -> Iterator[dict[str, float]]:
    counts = (reproduced, wrong, ~reproduced & ~wrong)
    for shares in zip(*(verdict.mean(axis=0) for verdict in counts), strict=True):
        yield dict(zip(VERDICT_COLUMNS, shares, strict=True))


def over_cells(simulated: pd.DataFrame) -> pd.DataFrame:
    """Shares over all cells, at the shifts that are the same for all: results/verdict-rates.csv."""
    same = simulated[simulated["shift"] != AT_TWICE_THE_MARGIN].astype({"shift": float})
    return same.groupby(["rule", "n", "shift"], sort=False)[list(VERDICT_COLUMNS)].mean().round(4).reset_index()


def at_twice_the_margin(simulated: pd.DataFrame) -> pd.DataFrame:
    """The share that is wrongly called reproduced, by rule and number of our seeds."""
    far = simulated[simulated["shift"] == AT_TWICE_THE_MARGIN]
    return far.groupby(["rule", "n"], sort=False).reproduced.mean().round(4).unstack("n")


def found_on(simulated: pd.DataFrame, benchmark: str, shift: float, n: int) -> pd.Series:
    """Method -> the share of draws in which the rule in force finds a shift on a benchmark."""
    chosen = (simulated.rule == NEW) & (simulated.n == n) & (simulated["shift"] == shift) & (simulated.benchmark == benchmark)
    return simulated[chosen].set_index("method").not_reproduced


def found_by_looks(looks: Sequence[int]) -> float:
    """The share of orders that are not there which a one-sided t test finds at one of several looks, at half of ALPHA each."""
    values = np.random.default_rng(GENERATOR_SEED).normal(size=(100 * DRAWS, max(looks)))
    is_detected = np.zeros(len(values), dtype=bool)
    for n in looks:
        t = values[:, :n].mean(axis=1) / (values[:, :n].std(axis=1, ddof=1) / np.sqrt(n))
        is_detected |= stats.t.sf(t, n - 1) < ALPHA / 2
    return float(is_detected.mean())


def findings(simulated: pd.DataFrame, spread: Mapping[tuple[str, str], float]) -> list[str]:
    """What is asked of the rule, and what the simulation says, a sentence each."""
    table = over_cells(simulated).set_index(["rule", "n", "shift"])
    powers_by_method = found_on(simulated, SEARCHED_ON, 3.0, 10)
    powers = ", ".join(
        f"{METHOD_NAMES[m]} {100 * p:.0f} % (spread {spread[m, SEARCHED_ON]:.2f})" for m, p in powers_by_method.items()
    )
    looks = ", ".join(
        f"{100 * found_by_looks(seeds):.1f} % ({claims}: {', '.join(map(str, seeds))} seeds)" for claims, seeds in LOOKS.items()
    )
    wrong, alarms = at_twice_the_margin(simulated), table.not_reproduced.xs(0.0, level="shift")

    def undecided(rule: str, shift: float) -> str:
        return " and ".join(f"{100 * table.undecided[rule, n, shift]:.1f} %" for n in (10, 1000))

    return [
        f"A difference of 3 points is found in {100 * table.not_reproduced[NEW, 10, 3.0]:.1f} % of all cells at ten seeds; on "
        f"Permuted MNIST by method: {powers}.",
        f"A mean that is 1 point off is called reproduced in {100 * table.reproduced[NEW, 10, 1.0]:.0f} % of cells at ten "
        f"seeds, one that is 2 points off in {100 * table.reproduced[NEW, 10, 2.0]:.0f} %.",
        f"Equal means are called different in at most {100 * alarms[NEW].max():.1f} % of cells.",
        f"Differences of twice the margin are called reproduced in at most {100 * wrong.loc[NEW].max():.2f} % of cells.",
        f"More seeds decide more: undecided at 10 and at 1000 seeds are {undecided(NEW, 0.0)} of equal means, and "
        f"{undecided(NEW, 3.0)} of means 3 points apart; by the old rule {undecided(OLD, 0.0)}, and {undecided(OLD, 3.0)}.",
        "Some claims got more seeds while they were undecided. An order that is not there is found with "
        f"{50 * ALPHA:g} % in one look, and in one of several looks with {looks}.",
    ]


WHY = (
    "The rule for verdicts was changed after results were seen. The old one tested printed values by Welch's test with the "
    "print's own spread: however many seeds we add, its degrees of freedom fall to those of three repetitions, so more seeds "
    f"decided less. It adjusted over readings that decide nothing, and it had one margin of {old_rule.MARGIN} points for all."
)


def as_markdown(simulated: pd.DataFrame, spread: Mapping[tuple[str, str], float]) -> str:
    """The shares as people read them, with what is asked of the rule: results/verdict-rates.md."""
    setting = (
        f"The table has both, for the {len(spread)} cells of Table 1 with the spreads of our runs: {DRAWS} draws, in each of "
        f"which the paper has {REPEATED} networks and we have n, and the true means differ by `shift` points. What the old "
        "rule says of each claim is in the columns old_verdict of claims.csv and verdicts.csv."
    )
    table = markdown_table(over_cells(simulated))
    sentences = "\n".join(f"- {sentence}" for sentence in findings(simulated, spread))
    return f"# How often verdicts err\n\n{WHY} {setting}\n\n{sentences}\n\n{table}\n"
