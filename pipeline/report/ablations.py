"""A table of variants of a rule, from rows alone: each beside the first, over the same seeds."""

import math

import pandas as pd
from matplotlib.axes import Axes

from pipeline.report.figures import Picture
from pipeline.report.statistics import Difference, Sample, holm, p_words, paired
from pipeline.report.style import GREY, ORANGE, panels


def make_table(frame: pd.DataFrame) -> pd.DataFrame:
    """From rows alone, a line for each variant and benchmark, accuracies in %.

    Columns: ablation, benchmark, ours, standard_error, n, lost, difference (from the first variant of the benchmark, over the
    seeds of both), difference_error, t and p (paired t test, Holm over the benchmark).
    """
    lines = []
    for benchmark in frame.benchmark.unique():
        of = frame[frame.benchmark == benchmark]
        names = list(of.ablation.unique())
        done = of[of.status == "finished"]
        by_seed = {a: 100 * done[done.ablation == a].set_index("seed").mean_accuracy for a in names}
        differences = {a: (by_seed[a] - by_seed[names[0]]).dropna().tolist() for a in names[1:]}
        found = {a: paired(d) for a, d in differences.items() if d}
        adjusted = dict(zip(found, holm([d.p for d in found.values()]), strict=True))
        for a in names:
            cell = {"ablation": a, "benchmark": benchmark}
            lines.append(cell | _numbers(by_seed[a], int((of.ablation == a).sum()), found.get(a), adjusted.get(a, math.nan)))
    return pd.DataFrame(lines)


def _numbers(accuracies: pd.Series, runs: int, d: Difference | None, p: float) -> dict[str, float]:
    ours = Sample.of(accuracies.tolist()) if len(accuracies) else Sample(math.nan, math.nan, 0)
    return {
        "ours": ours.mean,
        "standard_error": ours.standard_error,
        "n": ours.n,
        "lost": runs - ours.n,
        "difference": d.mean if d else math.nan,
        "difference_error": d.standard_error if d else math.nan,
        "t": d.t if d else math.nan,
        "p": p,
    }


def caption(table: pd.DataFrame) -> str:
    """What the numbers are, as far as the table has them."""
    error = ", mean ± standard error over seeds" if (table.n > 1).any() else ""
    difference = "; in brackets the difference from the first row over the same seeds" if table.difference.notna().any() else ""
    test = ", and p of a paired t test, Holm over the column" if table.p.notna().any() else ""
    return f"Accuracy in %{error}{difference}{test}."


def display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    benchmarks = list(table.benchmark.unique())
    rows = []
    for a in table.ablation.unique():
        cells = []
        for b in benchmarks:
            of = table[(table.ablation == a) & (table.benchmark == b)]
            cells.append("–" if of.empty else _cell(of.iloc[0]))
        rows.append([a, *cells])
    return pd.DataFrame(rows, columns=["", *benchmarks])


def _cell(line: pd.Series) -> str:
    lost = f", {line.lost} lost" if line.lost else ""
    p = "" if line.p != line.p else f", {p_words(line.p)}"
    change = "" if line.difference != line.difference else f" ({line.difference:+.2f}{p})"
    return f"{Sample(line.ours, line.standard_error, line.n)}{change}{lost}"


def fig5a(table: pd.DataFrame) -> Picture:
    """Fig. 5a: mean accuracy of each variant, a panel for each benchmark; bars: standard error over seeds."""
    return panels(*[lambda ax, b=b: _bars(ax, table[table.benchmark == b], str(b)) for b in table.benchmark.unique()])


def _bars(ax: Axes, of: pd.DataFrame, benchmark: str) -> None:
    colours = [ORANGE] + [GREY] * (len(of) - 1)
    ax.barh(of.ablation, of.ours, xerr=of.standard_error.fillna(0), color=colours)
    ax.invert_yaxis()
    ax.set(xlabel="mean accuracy in %", title=benchmark, xlim=(max(0.0, of.ours.min() - 8), min(100.0, of.ours.max() + 4)))
