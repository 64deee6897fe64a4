"""How figures look and how they are drawn: by matplotlib without a screen, in one style, at the size at which they are read."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

ORANGE, BLUE, SKY, GREEN, GREY, BLACK = "#D55E00", "#0072B2", "#56B4E9", "#009E73", "#999999", "#333333"
"""Colours that colour-blind people tell apart (Okabe & Ito 2008)."""
MODEL_COLOURS = {"plastic": ORANGE, "fixed": SKY, "deterministic": BLACK}
MODEL_MARKERS = {"plastic": "o", "fixed": "s", "deterministic": "^"}
METHOD_COLOURS = {"presynaptic": ORANGE, "sgd": BLACK, "bgd": BLUE, "ewc": GREEN, "joint": GREY}
LOOK: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "svg.hashsalt": "presyn",
    "svg.fonttype": "none",
}


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


def panels(*draw: Callable[[Axes], Any], width: float = 3.4, height: float = 2.7) -> Picture:
    """A figure of panels side by side, each drawn by a function of its axes; sizes in inches."""

    def figure() -> Figure:
        with plt.rc_context(LOOK):
            drawn, axes = plt.subplots(1, len(draw), figsize=(width * len(draw), height), squeeze=False)
            for ax, draw_panel in zip(axes[0], draw, strict=True):
                draw_panel(ax)
            drawn.tight_layout()
        return drawn

    return Picture(figure, dpi=200, look=LOOK)


def table_picture(shown: pd.DataFrame, benchmarks: int) -> Picture:
    """A table as a picture."""

    def figure() -> Figure:
        drawn, axes = plt.subplots(figsize=(3.0 + 2.6 * benchmarks, 0.6 + 0.34 * len(shown)))
        axes.axis("off")
        cells = axes.table(cellText=shown.values.tolist(), colLabels=list(shown.columns), loc="center", cellLoc="left")
        cells.auto_set_font_size(False)
        cells.set_fontsize(9)
        cells.auto_set_column_width(list(range(len(shown.columns))))
        cells.scale(1, 1.3)
        return drawn

    return Picture(figure, dpi=150, tight=True)


def parallel_coordinates(study: Any) -> Picture:
    """The trials of an Optuna study, a line each."""

    def figure() -> Figure:
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", UserWarning)  # a parameter with one value
            optuna.visualization.matplotlib.plot_parallel_coordinate(study)
        drawn = plt.gcf()
        drawn.set_size_inches(10, 5)
        return drawn

    return Picture(figure, dpi=120, tight=True)
