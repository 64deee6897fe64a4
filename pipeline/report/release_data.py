"""Measured release probabilities before and after plasticity (appendix 4)."""

import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from pipeline.report.figures import Picture
from pipeline.report.style import ORANGE, panels

COLUMNS = ("before", "after")


def summary(measured: pd.DataFrame) -> pd.DataFrame:
    """Pearson's r of the release probability before with the size of its change, its p, and the number of synapses."""
    change = (measured.after - measured.before).abs()
    r, p = stats.pearsonr(measured.before, change)
    return pd.DataFrame([{"quantity": "pearson_before_change", "r": r, "p": p, "synapses": len(measured)}])


def figures_of(measured: pd.DataFrame) -> dict[str, Picture]:
    """Appendix 4."""
    return {"appendix4": panels(lambda ax: _scatter(ax, measured))}


def _scatter(ax: Axes, measured: pd.DataFrame) -> None:
    ax.scatter(measured.before, (measured.after - measured.before).abs(), s=10, color=ORANGE)
    ax.set(xlabel="release probability before plasticity", ylabel="size of its change")
