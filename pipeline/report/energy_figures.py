"""Fig. 1 and appendix 1 as ours, from rows alone. Bars and bands: standard error over seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from pipeline.report.energy import NAMES
from pipeline.report.figures import Picture
from pipeline.report.style import MARKERS, OF_MODEL, ORANGE, panels

ENERGY = "energy (sum of |w̄|)"
INFORMATION = "information (bits)"
PER_ENERGY = "information per energy × 1000"


def of_energy(table: pd.DataFrame, series: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 1a and 1b, appendix 1a and 1b, and the course over epochs."""
    course = {"accuracy": "accuracy", "energy": ENERGY, "information": INFORMATION}
    return {
        "fig1a": panels(lambda ax: _tradeoff(ax, table)),
        "fig1b": panels(lambda ax: _best(ax, table, "per_energy", PER_ENERGY)),
        "appendix1a": panels(lambda ax: _by_l2(ax, table, "per_energy", PER_ENERGY)),
        "appendix1b": panels(lambda ax: _by_l2(ax, table, "per_neuronal", "information per neuronal energy")),
        "energy-course": panels(*[lambda ax, v=v, w=w: _course(ax, series, v, w) for v, w in course.items()]),
    }


def _tradeoff(ax: Axes, table: pd.DataFrame) -> None:
    for model, of in table.groupby("model", sort=False):
        ax.errorbar(
            of.energy, of.information, of.information_error, of.energy_error, color=OF_MODEL[str(model)],
            marker=MARKERS[str(model)], label=NAMES[str(model)],
        )  # fmt: skip
    ax.set(xscale="log", xlabel=ENERGY, ylabel=INFORMATION, title="a point for each ℓ2 strength")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend()


def _best(ax: Axes, table: pd.DataFrame, value: str, words: str) -> None:
    best = table.loc[table.groupby("model", sort=False)[value].idxmax()]
    colours = [OF_MODEL[m] for m in best.model]
    ax.bar(best.model.map(NAMES).str.replace(" ", "\n"), best[value], yerr=best[f"{value}_error"].fillna(0), color=colours)
    for i, row in enumerate(best.itertuples()):
        ax.annotate(f"ℓ2 = {row.l2:g}", (i, 0), (0, 2), textcoords="offset points", ha="center", color="white", fontsize=7)
    ax.set(ylabel=words, title="at the best ℓ2 of each")


def _by_l2(ax: Axes, table: pd.DataFrame, value: str, words: str) -> None:
    strengths = sorted(table.l2.unique())
    for model, of in table.sort_values("l2").groupby("model", sort=False):
        ax.errorbar(
            [strengths.index(v) for v in of.l2], of[value], of[f"{value}_error"], color=OF_MODEL[str(model)],
            marker=MARKERS[str(model)], label=NAMES[str(model)],
        )  # fmt: skip
    ax.set(xlabel="ℓ2", ylabel=words, ylim=(0, None))
    ax.set_xticks(range(len(strengths)), [f"{v:g}" for v in strengths])
    ax.legend()


def _course(ax: Axes, series: pd.DataFrame, value: str, words: str) -> None:
    l2 = min(series.l2.unique(), key=lambda v: abs(v - 0.01))
    for model, of in series[series.l2 == l2].groupby("model", sort=False):
        by_epoch = of.groupby("epoch")[value].agg(["mean", "sem"])
        ax.plot(by_epoch.index, by_epoch["mean"], color=OF_MODEL[str(model)], label=NAMES[str(model)])
        low, high = by_epoch["mean"] - by_epoch["sem"].fillna(0), by_epoch["mean"] + by_epoch["sem"].fillna(0)
        ax.fill_between(by_epoch.index, low, high, color=OF_MODEL[str(model)], alpha=0.25, lw=0)
    ax.set(xlabel="epoch", ylabel=words, title=f"ℓ2 = {l2:g}")
    ax.legend()


def of_fixed_release(table: pd.DataFrame) -> dict[str, Picture]:
    """Appendix 1c: information per energy against the fixed p, with the learning rate that was found for each."""
    return {"appendix1c": panels(lambda ax: _by_release(ax, table))}


def _by_release(ax: Axes, table: pd.DataFrame) -> None:
    ax.errorbar(table.release, table.per_energy, table.per_energy_error, color=OF_MODEL["fixed"], marker="s")
    for row in table.itertuples():
        ax.annotate(f"{row.eta0:g}", (row.release, row.per_energy), (5, -6), textcoords="offset points", fontsize=6)
    ax.set(xlabel="fixed release probability p", ylabel=PER_ENERGY, title="numbers: learning rate found", xlim=(0, 1.12))


def of_uniform(histogram: Sequence[Sequence[float]], start: float) -> dict[str, Picture]:
    """Appendix 1d: p after learning from uniform p; a histogram for each seed."""
    return {"appendix1d": panels(lambda ax: shares(ax, histogram, start, "from p ~ U(0.25, 1)"))}


def shares(ax: Axes, histogram: Sequence[Sequence[float]], start: float, title: str) -> None:
    """Shares of synapses by p, in bins of equal width from p_min to 1, before and after learning."""
    values = np.array(histogram, dtype=float)
    values /= values.sum(axis=1, keepdims=True)
    bins = values.shape[1]
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
    ax.bar(0.25 + (np.arange(bins) + 0.5) * 0.75 / bins, mean, 0.75 / bins, yerr=error, color=ORANGE, label="after learning")
    if start == start:
        ax.axhline(start, color="black", ls=":", label="before learning")
    else:
        ax.axvline(0.25, color="black", ls=":", label="before learning: all at 0.25")
    ax.set(yscale="log", xlabel="release probability p", ylabel="share of synapses", title=title)
    ax.legend()
