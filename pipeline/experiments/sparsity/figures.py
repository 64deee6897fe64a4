"""Fig. 2, 3 and appendix 2 as ours, from rows alone, at one strength of the penalty. Bars: standard error over seeds."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipeline.experiments.energy.figures import P_MIN, draw_shares
from pipeline.experiments.energy.summary import series_of
from pipeline.experiments.sparsity.summary import counts_of
from pipeline.paper import IMPORTANT, UNNAMED_L2
from pipeline.report.drawing import BLUE, GREY, ORANGE, Picture, panels

SHARES = np.arange(10, 100, 10)
Series = list[Mapping[str, Any]]


def draw_sparsity(frame: pd.DataFrame, summary: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 2a to 2d, 3a to 3c, appendix 2a and 2b, and how often p is raised by Fisher information.

    Args:
        frame: Rows.
        summary: Made of them by `summary.summarise`.
    """
    finished = frame[frame.status == "finished"]
    l2 = min(finished.l2.unique(), key=lambda strength: abs(strength - UNNAMED_L2))
    drawn = finished[finished.l2 == l2]
    series = list(series_of(drawn))
    hidden = json.loads(drawn.config.iloc[0])["hidden"]
    layers, last = range(len(hidden) + 1), len(hidden) - 1
    at_l2 = summary[summary.l2 == l2]
    matrices = [(layer, side) for side in ("inputs", "outputs") for layer in layers]
    return {
        "fig2a": panels(lambda ax: draw_shares(ax, [s["histogram_p"][-1] for s in series], None, f"ℓ2 = {l2:g}")),
        "fig2b": panels(lambda ax: _draw_lesions(ax, series)),
        "fig2c": panels(lambda ax: _draw_by_p(ax, series, "energy_by_p", "energy per synapse, |w̄|")),
        "fig2d": panels(lambda ax: _draw_by_p(ax, series, "fisher_by_p", "Fisher information")),
        "fig3a": panels(lambda ax: _draw_spread(ax, series[0], hidden, last, "inputs")),
        "fig3b": panels(lambda ax: _draw_beyond(ax, at_l2, str(last + 1))),
        "fig3c": panels(lambda ax: _draw_in_out(ax, series[0], hidden, 0)),
        "appendix2a": panels(*[lambda ax, m=m: _draw_spread(ax, series[0], hidden, *m) for m in matrices], width=2.6),
        "appendix2b": panels(lambda ax: _draw_in_out(ax, series[0], hidden, last)),
        "raises": panels(lambda ax: _draw_raises(ax, series)),
    }


def _mean(series: Series, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over seeds of a short series; nan where no seed has a value."""
    values = np.array([s[name][-1] for s in series], dtype=float)
    measured = (~np.isnan(values)).sum(axis=0)
    n = np.maximum(1, measured)
    mean = np.nansum(values, axis=0) / n
    spread = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.maximum(1, n - 1) / n)
    return np.where(measured > 0, mean, np.nan), spread


def _draw_lesions(ax: Axes, series: Series) -> None:
    for name, label, colour, marker in (
        ("lesion_p", "lowest p first", ORANGE, "o"),
        ("lesion_weight", "lowest |w̄| first", BLUE, "s"),
        ("lesion_random", "random order", GREY, "^"),
    ):
        mean, error = _mean(series, name)
        ax.errorbar(SHARES, mean, error, color=colour, marker=marker, label=label)
    ax.set(xlabel="synapses removed in %", ylabel="accuracy", ylim=(0, 1))
    ax.legend()


def _draw_by_p(ax: Axes, series: Series, name: str, label: str) -> None:
    mean, error = _mean(series, name)
    centres = P_MIN + (np.arange(len(mean)) + 0.5) * (1 - P_MIN) / len(mean)
    ax.errorbar(centres, mean, error, color=ORANGE, marker="o")
    ax.set(xlabel="release probability p", ylabel=label, ylim=(0, None))


def _shuffled(counts: np.ndarray, slots: int, times: int = 50) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.multivariate_hypergeometric([slots] * len(counts), int(counts.sum()), size=times, method="marginals")


def _draw_spread(ax: Axes, series: Mapping[str, Any], hidden: list[int], layer: int, side: str) -> None:
    above, below = counts_of(dict(series), hidden, IMPORTANT)
    counts, others = (above[layer], below[layer]) if side == "inputs" else (below[layer], above[layer])
    control = _shuffled(counts, len(others))
    most = int(max(counts.max(), control.max())) + 1
    bins = (np.arange(0, most + max(1, most // 25), max(1, most // 25)) - 0.5).tolist()  # whole numbers in a bin
    ax.hist(counts, bins, weights=np.full(len(counts), 1 / len(counts)), color=ORANGE, label="trained")
    ax.hist(
        control.ravel(), bins, weights=np.full(control.size, 1 / control.size), histtype="step", color="black", label="shuffled"
    )
    place = f"hidden layer {layer + 1 if side == 'inputs' else layer}"
    if side == "inputs" and layer == len(hidden):
        place = "output layer"
    elif side == "outputs" and not layer:
        place = "images"
    ax.set(xlabel=f"important {side} of a neuron", ylabel="share of neurons", title=f"{place}, one seed")
    ax.legend()


def _draw_beyond(ax: Axes, summary: pd.DataFrame, layer: str) -> None:
    """Shares of neurons beyond two standard deviations of the control, below and above."""
    values = summary[summary.layer == layer].groupby("quantity").value
    mean, error = values.mean(), values.sem().fillna(0)
    for i, (suffix, colour, label) in enumerate((("", ORANGE, "trained"), ("_shuffled", GREY, "shuffled"))):
        names = [f"few_inputs{suffix}", f"many_inputs{suffix}"]
        ax.bar(np.arange(2) + 0.4 * i, mean[names], 0.38, yerr=error[names], color=colour, label=label)
    ax.set(ylabel="share of neurons", title=f"important inputs, hidden layer {layer}")
    ax.set_xticks(np.arange(2) + 0.2, ["more than 2 SD\nbelow the control", "more than 2 SD\nabove the control"])
    ax.legend()


def _draw_in_out(ax: Axes, series: Mapping[str, Any], hidden: list[int], layer: int) -> None:
    above, below = counts_of(dict(series), hidden, IMPORTANT)
    ins, outs = above[layer], below[layer + 1]
    r = f", r = {np.corrcoef(ins, outs)[0, 1]:.2f}" if ins.std() and outs.std() else ""
    ax.scatter(ins, outs, s=8, color=ORANGE)
    ax.set(xlabel="important inputs", ylabel="important outputs", title=f"hidden layer {layer + 1}, one seed{r}")


def _draw_raises(ax: Axes, series: Series) -> None:
    (x, _), (y, error) = _mean(series, "fisher_of_group"), _mean(series, "raised_of_group")
    ax.errorbar(np.maximum(x, 1e-12), y, error, color=ORANGE, marker="o")
    ax.set(xscale="log", xlabel="Fisher information of a group of synapses", ylabel="share of steps that raise p")
