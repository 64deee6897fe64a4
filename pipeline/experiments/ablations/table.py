"""A table of variants of a rule, from rows alone: each beside the first, over the same seeds."""

import math

import pandas as pd
from matplotlib.axes import Axes

from pipeline.experiments.ablations.variants import FULL, RELEASED
from pipeline.report.drawing import GREY, ORANGE, Picture, panels
from pipeline.report.statistics import Difference, Sample, holm, paired, show_p


def make_table(frame: pd.DataFrame) -> pd.DataFrame:
    """From rows alone, a line for each variant and benchmark, accuracies in %.

    Columns: ablation, benchmark, ours, standard_error, n, lost, difference (from the whole rule on the benchmark, over the
    seeds of both; none where it has no rows), difference_error, t and p (paired t test, Holm over the benchmark).
    """
    lines = []
    whole = whole_rule(frame) if len(frame) else ""
    for benchmark in frame.benchmark.unique():
        rows = frame[frame.benchmark == benchmark]
        variants = list(rows.ablation.unique())
        finished = rows[rows.status == "finished"]
        by_seed = {v: 100 * finished[finished.ablation == v].set_index("seed").mean_accuracy for v in variants}
        others = [v for v in variants if v != whole] if whole in variants else []
        values = {v: (by_seed[v] - by_seed[whole]).dropna().tolist() for v in others}
        differences = {v: paired(d) for v, d in values.items() if d}
        adjusted = dict(zip(differences, holm([d.p for d in differences.values()]), strict=True))
        for v in variants:
            numbers = _numbers(by_seed[v], int((rows.ablation == v).sum()), differences.get(v), adjusted.get(v, math.nan))
            lines.append({"ablation": v, "benchmark": benchmark, **numbers})
    return pd.DataFrame(lines)


def whole_rule(frame: pd.DataFrame) -> str:
    """What the variant is called from which nothing is switched off; the first one where it has no rows at all."""
    return next((name for name in (FULL, RELEASED) if (frame.ablation == name).any()), str(frame.ablation.iloc[0]))


def _numbers(accuracies: pd.Series, runs: int, d: Difference | None, p: float) -> dict[str, float]:
    ours = Sample.from_values(accuracies.tolist())
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


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    benchmarks = list(table.benchmark.unique())
    rows = []
    for a in table.ablation.unique():
        cells = []
        for b in benchmarks:
            lines = table[(table.ablation == a) & (table.benchmark == b)]
            cells.append("–" if lines.empty else _cell(lines.iloc[0]))
        rows.append([a, *cells])
    return pd.DataFrame(rows, columns=["", *benchmarks])


def _cell(line: pd.Series) -> str:
    lost = f", {line.lost} lost" if line.lost else ""
    p = "" if line.p != line.p else f", {show_p(line.p)}"
    change = "" if line.difference != line.difference else f" ({line.difference:+.2f}{p})"
    return f"{Sample(line.ours, line.standard_error, line.n)}{change}{lost}"


def bars(table: pd.DataFrame) -> Picture:
    """Fig. 5a: mean accuracy of each variant, a panel for each benchmark; bars: standard error over seeds."""
    benchmarks = list(table.benchmark.unique())
    return panels(*[lambda ax, b=b: _draw_bars(ax, table[table.benchmark == b], str(b)) for b in benchmarks])


def _draw_bars(ax: Axes, lines: pd.DataFrame, benchmark: str) -> None:
    colours = [ORANGE if name in (FULL, RELEASED) else GREY for name in lines.ablation]
    ax.barh(lines.ablation, lines.ours, xerr=lines.standard_error.fillna(0), color=colours)
    ax.invert_yaxis()
    low, high = (lines.ours.min(), lines.ours.max()) if lines.ours.notna().any() else (0.0, 100.0)
    start = float(max(0, math.floor(low - 8)))
    ax.set(xlabel=f"mean accuracy in % (bars start at {start:g})", title=benchmark, xlim=(start, min(100.0, high + 4)))
