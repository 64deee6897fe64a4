"""The overlap of tasks by benchmark and variant. Bars: standard error over seeds."""

import pandas as pd
from matplotlib.axes import Axes

from pipeline.experiments.overlap.summary import VARIANTS
from pipeline.report.drawing import BLUE, GREEN, ORANGE, Picture, panels
from pipeline.report.statistics import Sample

COLOURS = dict(zip(VARIANTS, (ORANGE, BLUE, GREEN), strict=True))


def draw_overlap(summary: pd.DataFrame) -> dict[str, Picture]:
    """Observed over expected overlap of the rule and its controls."""
    return {"overlap": panels(lambda ax: _draw(ax, summary))}


def _draw(ax: Axes, summary: pd.DataFrame) -> None:
    benchmarks = list(dict.fromkeys(summary.benchmark))
    width = 0.8 / len(COLOURS)
    for i, (variant, colour) in enumerate(COLOURS.items()):
        for j, benchmark in enumerate(benchmarks):
            values = summary[(summary.variant == variant) & (summary.benchmark == benchmark)].overlap.dropna().tolist()
            sample = Sample.from_values(values)
            error = sample.standard_error if sample.n > 1 else 0
            ax.bar(j + (i - 1) * width, sample.mean, width, yerr=error, color=colour, label=None if j else variant)
    ax.axhline(1, color="grey", linewidth=0.8, linestyle="--")
    ax.set(ylabel="overlap, observed over chance")
    ax.set_xticks(range(len(benchmarks)), benchmarks)
    ax.legend()
