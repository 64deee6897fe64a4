"""Fig. 1 to 3 and appendix 1a, 1b, 2a and 2b as ours, from rows alone. Bars and bands: standard error over seeds."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipeline.report.energy import NAMES, series_of
from pipeline.report.figures import Picture, plt
from pipeline.report.sparsity import counts_of

COLOURS = {"plastic": "#D55E00", "fixed": "#56B4E9", "deterministic": "#333333"}  # told apart by colour-blind people
MARKERS = {"plastic": "o", "fixed": "s", "deterministic": "^"}
SHOWN_L2 = 0.01
"""The penalty at which Fig. 2 and 3 are drawn; the text does not name one (docs/energy.md)."""
SHARES = np.arange(10, 100, 10)


def _panels(*draw: Callable[[Axes], Any], width: float = 4.2) -> Picture:
    def figure() -> Any:
        drawn, axes = plt.subplots(1, len(draw), figsize=(width * len(draw), 3.6), squeeze=False)
        for ax, one in zip(axes[0], draw, strict=True):
            one(ax)
            ax.spines[["top", "right"]].set_visible(False)
        drawn.tight_layout()
        return drawn

    return Picture(figure, dpi=150)


def _both(name: str, picture: Picture) -> dict[str, Picture]:
    return {f"{name}.png": picture, f"{name}.svg": picture}


def of_energy(table: pd.DataFrame, series: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 1a and 1b, appendix 1a and 1b, and the course over epochs."""
    course = {"accuracy": "accuracy", "energy": "energy (sum of |w̄|)", "information": "information (bits)"}
    return {
        **_both("fig1", _panels(lambda ax: _tradeoff(ax, table, "energy"), lambda ax: _best(ax, table, "per_energy"))),
        **_both(
            "appendix1ab", _panels(lambda ax: _by_l2(ax, table, "per_energy"), lambda ax: _best(ax, table, "per_neuronal"))
        ),
        **_both("course", _panels(*[lambda ax, v=v, w=w: _course(ax, series, v, w) for v, w in course.items()])),
    }


def _tradeoff(ax: Axes, table: pd.DataFrame, energy: str) -> None:
    for model, of in table.groupby("model", sort=False):
        ax.errorbar(
            of[energy], of.information, of.information_error, of[f"{energy}_error"], color=COLOURS[str(model)],
            marker=MARKERS[str(model)], ms=4, lw=1.2, label=NAMES[str(model)],
        )  # fmt: skip
    ax.set(xscale="log", xlabel="energy (sum of |w̄|)", ylabel="information (bits)", title="a: a point for each l2")
    ax.legend(frameon=False, fontsize=8)


WORDS = {"per_energy": "information per energy × 1000", "per_neuronal": "information per neuronal energy"}


def _best(ax: Axes, table: pd.DataFrame, value: str) -> None:
    best = table.loc[table.groupby("model", sort=False)[value].idxmax()]
    colours = [COLOURS[m] for m in best.model]
    ax.bar(best.model.map(NAMES), best[value], yerr=best[f"{value}_error"].fillna(0), capsize=3, color=colours)
    for i, row in enumerate(best.itertuples()):
        ax.annotate(f"l2 = {row.l2:g}", (i, 0), ha="center", va="bottom", color="white", fontsize=8)
    ax.set(ylabel=WORDS[value], title="at the best l2 of each")
    ax.tick_params(axis="x", labelsize=8)


def _by_l2(ax: Axes, table: pd.DataFrame, value: str) -> None:
    names = [f"{l2:g}" for l2 in sorted(table.l2.unique())]
    for model, of in table.sort_values("l2").groupby("model", sort=False):
        ax.errorbar(
            of.l2.map("{:g}".format), of[value], of[f"{value}_error"], color=COLOURS[str(model)], marker=MARKERS[str(model)],
            ms=4, lw=1.2, label=NAMES[str(model)],
        )  # fmt: skip
    ax.set(xlabel="l2", ylabel=WORDS[value], title="at every l2")
    ax.set_xticks(names)
    ax.legend(frameon=False, fontsize=8)


def _course(ax: Axes, series: pd.DataFrame, value: str, words: str) -> None:
    l2 = min(series.l2.unique(), key=lambda v: abs(v - SHOWN_L2))
    for model, of in series[series.l2 == l2].groupby("model", sort=False):
        by_epoch = of.groupby("epoch")[value].agg(["mean", "sem"])
        ax.plot(by_epoch.index, by_epoch["mean"], color=COLOURS[str(model)], label=NAMES[str(model)])
        low, high = by_epoch["mean"] - by_epoch["sem"].fillna(0), by_epoch["mean"] + by_epoch["sem"].fillna(0)
        ax.fill_between(by_epoch.index, low, high, color=COLOURS[str(model)], alpha=0.25, lw=0)
    ax.set(xlabel="epoch", ylabel=words, title=f"l2 = {l2:g}")
    ax.legend(frameon=False, fontsize=8)


def of_sparsity(frame: pd.DataFrame, long: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 2 and 3 and appendix 2 at one strength of the penalty."""
    done = frame[frame.status == "finished"]
    l2 = min(done.l2.unique(), key=lambda v: abs(v - SHOWN_L2))
    of = done[done.l2 == l2]
    series = list(series_of(of))
    hidden = json.loads(of.config.iloc[0])["hidden"]
    fig2 = _panels(
        lambda ax: _histogram(ax, series, l2), lambda ax: _lesions(ax, series),
        lambda ax: _by_p(ax, series, "energy_by_p", "energy per synapse"),
        lambda ax: _by_p(ax, series, "fisher_by_p", "Fisher information"), width=3.6,
    )  # fmt: skip
    fig3 = _panels(
        lambda ax: _spread(ax, series[0], hidden, 0, "inputs"), lambda ax: _spread(ax, series[0], hidden, 1, "inputs"),
        lambda ax: _in_out(ax, series[0], hidden, 0), lambda ax: _in_out(ax, series[0], hidden, 1), width=3.6,
    )  # fmt: skip
    return {**_both("fig2", fig2), **_both("fig3", fig3), **_both("raises", _panels(lambda ax: _raises(ax, series)))}


def _mean(series: list[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over seeds of a short series."""
    values = np.array([s[name][-1] for s in series], dtype=float)
    known = (~np.isnan(values)).sum(axis=0)
    n = np.maximum(1, known)
    mean = np.nansum(values, axis=0) / n
    spread = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(1, n - 1) / n)
    return np.where(known > 0, mean, np.nan), spread


def _centres(bins: int) -> np.ndarray:
    return 0.25 + (np.arange(bins) + 0.5) * 0.75 / bins


def _histogram(ax: Axes, series: list[Mapping[str, Any]], l2: float) -> None:
    mean, error = _mean(series, "histogram_p")
    share = mean.sum()
    ax.bar(_centres(len(mean)), mean / share, 0.75 / len(mean), yerr=error / share, color=COLOURS["plastic"])
    ax.set(yscale="log", xlabel="release probability p", ylabel="share of synapses", title=f"2a (l2 = {l2:g})")


def _lesions(ax: Axes, series: list[Mapping[str, Any]]) -> None:
    for name, words, colour in (
        ("lesion_p", "lowest p first", "#D55E00"),
        ("lesion_weight", "lowest |w̄| first", "#0072B2"),
        ("lesion_random", "random order", "#999999"),
    ):
        mean, error = _mean(series, name)
        ax.errorbar(SHARES, mean, error, color=colour, marker="o", ms=3, lw=1.2, label=words)
    ax.set(xlabel="synapses removed in %", ylabel="accuracy", title="2b")
    ax.legend(frameon=False, fontsize=8)


def _by_p(ax: Axes, series: list[Mapping[str, Any]], name: str, words: str) -> None:
    mean, error = _mean(series, name)
    ax.errorbar(_centres(len(mean)), mean, error, color=COLOURS["plastic"], marker="o", ms=3, lw=1)
    ax.set(xlabel="release probability p", ylabel=words, ylim=(0, None), title="2c" if "energy" in name else "2d")


def _spread(ax: Axes, series: Mapping[str, Any], hidden: list[int], layer: int, side: str) -> None:
    above, below = counts_of(dict(series), hidden, 0.9)
    counts, slots = above[layer], len(below[layer])
    rng = np.random.default_rng(0)
    control = rng.multivariate_hypergeometric([slots] * len(counts), int(counts.sum()), size=50, method="marginals")
    bins = np.linspace(0, max(counts.max(), control.max()) + 1, 25).tolist()
    ax.hist(counts, bins, density=True, color=COLOURS["plastic"], label="trained")
    ax.hist(control.ravel(), bins, density=True, histtype="step", color="black", label="shuffled")
    ax.set(xlabel=f"important {side} of a neuron", ylabel="density", title=f"3a: hidden layer {layer + 1}, one seed")
    ax.legend(frameon=False, fontsize=8)


def _in_out(ax: Axes, series: Mapping[str, Any], hidden: list[int], layer: int) -> None:
    above, below = counts_of(dict(series), hidden, 0.9)
    ax.scatter(above[layer], below[layer + 1], s=8, color=COLOURS["plastic"])
    ax.set(xlabel="important inputs", ylabel="important outputs", title=f"3c: hidden layer {layer + 1}, one seed")


def _raises(ax: Axes, series: list[Mapping[str, Any]]) -> None:
    (x, _), (y, error) = _mean(series, "fisher_of_group"), _mean(series, "raised_of_group")
    ax.errorbar(np.maximum(x, 1e-12), y, error, color=COLOURS["plastic"], marker="o", ms=3)
    ax.set(xscale="log", xlabel="Fisher information of a group of synapses", ylabel="steps in which p was raised, share")
