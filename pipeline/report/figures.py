"""Figures, drawn by matplotlib without a screen."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn when it is written, and how it is written."""

    draw: Callable[[], Figure]
    dpi: int = 130
    tight: bool = False
    look: Any = None

    def savefig(self, target: Any, **options: Any) -> None:
        figure = self.draw()
        with plt.rc_context(self.look):  # some of it counts when a figure is written
            figure.savefig(target, dpi=self.dpi, bbox_inches="tight" if self.tight else None, **options)
        plt.close(figure)


def table_picture(shown: pd.DataFrame, benchmarks: int) -> Picture:
    """A table as a picture."""
    return Picture(lambda: _table(shown, benchmarks), dpi=150, tight=True)


def _table(shown: pd.DataFrame, benchmarks: int) -> Figure:
    figure, axes = plt.subplots(figsize=(3.0 + 2.6 * benchmarks, 0.6 + 0.34 * len(shown)))
    axes.axis("off")
    drawn = axes.table(cellText=shown.values.tolist(), colLabels=list(shown.columns), loc="center", cellLoc="left")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(9)
    drawn.auto_set_column_width(list(range(len(shown.columns))))
    drawn.scale(1, 1.3)
    return figure


def ablation_bars(table: pd.DataFrame) -> Picture:
    """Bars as in Fig. 5a: mean accuracy by variant, with standard errors, a panel for each benchmark."""
    return Picture(lambda: _bars(table))


def _bars(table: pd.DataFrame) -> Figure:
    benchmarks = list(table.benchmark.unique())
    figure, axes = plt.subplots(1, len(benchmarks), figsize=(4.2 * len(benchmarks), 4), squeeze=False)
    for ax, b in zip(axes[0], benchmarks, strict=True):
        of = table[table.benchmark == b]
        ax.bar(of.ablation, of.ours, yerr=of.standard_error.fillna(0), capsize=3, color=["C1"] + ["C0"] * (len(of) - 1))
        low = (of.ours - of.standard_error.fillna(0)).min()
        ax.set(title=b, ylabel="mean accuracy in %", ylim=(max(0, low - 5), min(100, of.ours.max() + 3)))
        ax.tick_params(axis="x", rotation=90)
    figure.tight_layout()
    return figure


def parallel_coordinates(study: Any) -> Picture:
    """The trials of an Optuna study, a line each."""
    return Picture(lambda: _parallel(study), dpi=120, tight=True)


def _parallel(study: Any) -> Figure:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)  # a parameter with one value
        optuna.visualization.matplotlib.plot_parallel_coordinate(study)
    figure = plt.gcf()
    figure.set_size_inches(10, 5)
    return figure
