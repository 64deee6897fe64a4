"""How figures look: one style for all of them, and a figure of one panel at the size at which it is read."""

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes

from pipeline.report.figures import Picture, plt

ORANGE, BLUE, SKY, GREEN, GREY, BLACK = "#D55E00", "#0072B2", "#56B4E9", "#009E73", "#999999", "#333333"
"""Colours that colour-blind people tell apart (Okabe & Ito 2008)."""
OF_MODEL = {"plastic": ORANGE, "fixed": SKY, "deterministic": BLACK}
MARKERS = {"plastic": "o", "fixed": "s", "deterministic": "^"}
OF_METHOD = {"presynaptic": ORANGE, "sgd": BLACK, "bgd": BLUE, "ewc": GREEN, "joint": GREY}
LOOK: Any = {
    **{"font.size": 8.5, "axes.titlesize": 8.5, "axes.labelsize": 8.5, "legend.fontsize": 7.5, "legend.frameon": False},
    **{"axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.3, "lines.markersize": 4},
    **{"errorbar.capsize": 2, "svg.hashsalt": "presyn", "svg.fonttype": "none"},
}


def panels(*draw: Callable[[Axes], Any], width: float = 3.4, height: float = 2.7) -> Picture:
    """A figure of panels side by side, each drawn by a function of its axes; sizes in inches."""

    def figure() -> Any:
        with plt.rc_context(LOOK):
            drawn, axes = plt.subplots(1, len(draw), figsize=(width * len(draw), height), squeeze=False)
            for ax, one in zip(axes[0], draw, strict=True):
                one(ax)
            drawn.tight_layout()
        return drawn

    return Picture(figure, dpi=200, look=LOOK)
