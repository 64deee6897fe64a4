"""Fig. 1 and appendix 1 as ours, from rows alone. Bars and bands: standard error over seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from pipeline.paper import MODEL_NAMES
from pipeline.report.drawing import MODEL_COLOURS, MODEL_MARKERS, ORANGE, Picture, panels

ENERGY = "energy (sum of |w̄|)"
INFORMATION = "information (bits)"
PER_ENERGY = "information per energy × 1000"
COURSE_L2 = 0.01
"""The penalty at which the course over epochs is drawn, if it is there."""
P_MIN = 0.25
"""Lower limit of p, where histograms of it begin (Eq. 4)."""


def draw_energy(table: pd.DataFrame, epochs: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 1a and 1b, appendix 1a and 1b, and the course over epochs.

    Args:
        table: As `summary.by_model` makes it.
        epochs: As `summary.by_epoch` makes it.
    """
    course = {"accuracy": "accuracy", "energy": ENERGY, "information": INFORMATION}
    return {
        "fig1a": panels(lambda ax: _draw_tradeoff(ax, table)),
        "fig1b": panels(lambda ax: _draw_best(ax, table, "per_energy", PER_ENERGY)),
        "appendix1a": panels(lambda ax: _draw_by_l2(ax, table, "per_energy", PER_ENERGY)),
        "appendix1b": panels(lambda ax: _draw_by_l2(ax, table, "per_neuronal", "information per neuronal energy")),
        "energy-course": panels(
            *[lambda ax, v=v, label=label: _draw_course(ax, epochs, v, label) for v, label in course.items()]
        ),
    }


def draw_tradeoff_and_penalties(table: pd.DataFrame) -> Picture:
    """Information against energy, and information per energy by penalty, side by side."""
    return panels(lambda ax: _draw_tradeoff(ax, table), lambda ax: _draw_by_l2(ax, table, "per_energy", PER_ENERGY))


def _draw_tradeoff(ax: Axes, table: pd.DataFrame) -> None:
    for model, lines in table.groupby("model", sort=False):
        ax.errorbar(
            lines.energy, lines.information, lines.information_error, lines.energy_error, color=MODEL_COLOURS[str(model)],
            marker=MODEL_MARKERS[str(model)], label=MODEL_NAMES[str(model)],
        )  # fmt: skip
    ax.set(xscale="log", xlabel=ENERGY, ylabel=INFORMATION, title="a point for each ℓ2 strength")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend()


def _draw_best(ax: Axes, table: pd.DataFrame, value: str, label: str) -> None:
    best = table.loc[table.groupby("model", sort=False)[value].idxmax()]
    colours = [MODEL_COLOURS[m] for m in best.model]
    names = best.model.map(MODEL_NAMES).str.replace(" ", "\n")
    ax.bar(names, best[value], yerr=best[f"{value}_error"].fillna(0), color=colours)
    for i, row in enumerate(best.itertuples()):
        ax.annotate(f"ℓ2 = {row.l2:g}", (i, 0), (0, 2), textcoords="offset points", ha="center", color="white", fontsize=7)
    ax.set(ylabel=label, title="at the best ℓ2 of each")


def _draw_by_l2(ax: Axes, table: pd.DataFrame, value: str, label: str) -> None:
    strengths = sorted(table.l2.unique())
    for model, lines in table.sort_values("l2").groupby("model", sort=False):
        ax.errorbar(
            [strengths.index(l2) for l2 in lines.l2], lines[value], lines[f"{value}_error"], color=MODEL_COLOURS[str(model)],
            marker=MODEL_MARKERS[str(model)], label=MODEL_NAMES[str(model)],
        )  # fmt: skip
    ax.set(xlabel="ℓ2", ylabel=label, ylim=(0, None))
    ax.set_xticks(range(len(strengths)), [f"{l2:g}" for l2 in strengths])
    ax.legend()


def _draw_course(ax: Axes, epochs: pd.DataFrame, value: str, label: str) -> None:
    l2 = min(epochs.l2.unique(), key=lambda strength: abs(strength - COURSE_L2))
    for model, lines in epochs[epochs.l2 == l2].groupby("model", sort=False):
        course = lines.groupby("epoch")[value].agg(["mean", "sem"])
        ax.plot(course.index, course["mean"], color=MODEL_COLOURS[str(model)], label=MODEL_NAMES[str(model)])
        low, high = course["mean"] - course["sem"].fillna(0), course["mean"] + course["sem"].fillna(0)
        ax.fill_between(course.index, low, high, color=MODEL_COLOURS[str(model)], alpha=0.25, lw=0)
    ax.set(xlabel="epoch", ylabel=label, title=f"ℓ2 = {l2:g}")
    ax.legend()


def draw_fixed_release(table: pd.DataFrame) -> dict[str, Picture]:
    """Appendix 1c: information per energy against the fixed p, with the learning rate that was found for each."""
    return {"appendix1c": panels(lambda ax: _draw_by_release(ax, table))}


def _draw_by_release(ax: Axes, table: pd.DataFrame) -> None:
    ax.errorbar(table.release, table.per_energy, table.per_energy_error, color=MODEL_COLOURS["fixed"], marker="s")
    for row in table.itertuples():
        ax.annotate(f"{row.eta0:g}", (row.release, row.per_energy), (5, -6), textcoords="offset points", fontsize=6)
    ax.set(xlabel="fixed release probability p", ylabel=PER_ENERGY, title="numbers: learning rate found", xlim=(0, 1.12))


def draw_shares(ax: Axes, histogram: Sequence[Sequence[float]], start: float | None, title: str) -> None:
    """Shares of synapses by p, in bins of equal width from P_MIN to 1, before and after learning.

    Args:
        ax: Where to draw.
        histogram: A histogram for each seed.
        start: The share in each bin before learning; None if all were at P_MIN.
        title: Of the panel.
    """
    values = np.array(histogram, dtype=float)
    values /= values.sum(axis=1, keepdims=True)
    bins = values.shape[1]
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
    width = (1 - P_MIN) / bins
    ax.bar(P_MIN + (np.arange(bins) + 0.5) * width, mean, width, yerr=error, color=ORANGE, label="after learning")
    if start is not None:
        ax.axhline(start, color="black", ls=":", label="before learning")
    else:
        ax.axvline(P_MIN, color="black", ls=":", label=f"before learning: all at {P_MIN}")
    ax.set(yscale="log", xlabel="release probability p", ylabel="share of synapses", title=title)
    ax.legend()
