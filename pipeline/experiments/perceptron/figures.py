"""Fig. 5b and 5c as ours, and the accuracies against the number of patterns. Bars: standard error over seeds."""

import pandas as pd
from matplotlib.axes import Axes

from pipeline.paper import PATTERNS
from pipeline.report.drawing import BLACK, ORANGE, Picture, panels
from pipeline.report.statistics import Sample

COLOURS = {"standard": BLACK, "presynaptic": ORANGE}


def draw_perceptrons(summary: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 5b, 5c, and the accuracies against the number of patterns."""
    patterns = PATTERNS if PATTERNS in set(summary.patterns) else summary.patterns.iloc[0]
    lines = summary[summary.patterns == patterns]
    return {
        "fig5b": panels(lambda ax: _draw_first_task(ax, lines)),
        "fig5c": panels(lambda ax: _draw_means(ax, lines), width=2.6),
        "perceptron-patterns": panels(lambda ax: _draw_capacity(ax, summary)),
    }


def _draw_first_task(ax: Axes, lines: pd.DataFrame) -> None:
    names = [c for c in lines if c.startswith("task1")]
    for model, rows in lines.groupby("model", sort=False):
        mean, error = rows[names].mean(), rows[names].sem().fillna(0)
        ax.errorbar(range(1, len(names) + 1), mean, error, color=COLOURS[str(model)], marker="o", label=model)
    ax.set(xlabel="tasks learned", ylabel="accuracy on task 1", ylim=(0.75, 1.01))
    ax.set_xticks(range(1, len(names) + 1))
    ax.legend()


def _draw_means(ax: Axes, lines: pd.DataFrame) -> None:
    for i, (model, rows) in enumerate(lines.groupby("model", sort=False)):
        sample = Sample.from_values(rows.mean_accuracy.tolist())
        ax.bar(
            i,
            sample.mean,
            yerr=sample.standard_error if sample.n > 1 else 0,
            color=COLOURS[str(model)],
            label=f"{model} (n = {sample.n})",
        )
    ax.set(ylabel="mean accuracy (bars start at 0.8)", ylim=(0.8, 1.0))
    ax.set_xticks([])
    ax.legend()


def _draw_capacity(ax: Axes, summary: pd.DataFrame) -> None:
    for model, rows in summary.groupby("model", sort=False):
        means = rows.groupby("patterns").mean_accuracy.agg(["mean", "sem"])
        ax.errorbar(means.index, means["mean"], means["sem"].fillna(0), color=COLOURS[str(model)], marker="o", label=model)
    ax.set(xscale="log", xlabel="patterns", ylabel="mean accuracy over tasks")
    ax.legend()
