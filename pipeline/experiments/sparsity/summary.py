"""Important synapses of the plastic model, from rows alone (Fig. 2 and 3, appendix 2)."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.paper import IMPORTANT
from pipeline.report.statistics import Sample, plus_minus

COLUMNS = ("quantity", "layer", "model", "l2", "seed", "value", "run_id")
MEASURED_BY_LAYER = (
    "share_p_below_0.3",
    "share_p_from_0.9",
    "energy_per_synapse_high",
    "energy_per_synapse_low",
    "fisher_high",
    "fisher_low",
    "pearson_fisher_p",
)
LESIONS = {"p": "lesion_p", "random": "lesion_random", "weight": "lesion_weight"}
CUTS = tuple(range(10, 100, 10))
"""Per cent of synapses that were cut in the lesions of the summary."""
THRESHOLDS = (0.8, IMPORTANT, 0.95)
"""From which p on a synapse is important; the paper's, and two more (claim S13)."""
SHUFFLES = 200


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each quantity, layer (1, 2, 3 or all) and run, with the columns COLUMNS. Lost runs have no lines."""
    lines = []
    finished = frame[frame.status == "finished"]
    for row in finished.itertuples():
        for quantity, layer, value in _quantities(row.series, tuple(json.loads(row.config)["hidden"]), row.seed):
            lines.append([quantity, layer, row.model, row.l2, row.seed, value, row.run_id])
    return pd.DataFrame(lines, columns=list(COLUMNS))


def as_file(summary: pd.DataFrame) -> pd.DataFrame:
    """The lines as they are written to summary.csv; the runs behind them are in runs.csv."""
    return summary.drop(columns="run_id")


@cache  # the shuffles take seconds, and tables, figures and verdicts all need them
def _quantities(series_text: str, hidden: tuple[int, ...], seed: int) -> tuple[tuple[str, str, float | None], ...]:
    """Quantity, layer and value of a run, from its series as JSON."""
    return tuple(_each_quantity(json.loads(series_text), list(hidden), seed))


def _each_quantity(series: dict[str, Any], hidden: list[int], seed: int) -> Iterator[tuple[str, str, float | None]]:
    for quantity in MEASURED_BY_LAYER:
        values = series[quantity][-1]
        for layer, value in zip([*map(str, range(1, len(values))), "all"], values, strict=True):
            yield quantity, layer, value
    yield "pearson_weight_p", "all", series["pearson_weight_p"][-1][0]
    yield "spearman_fisher_raised", "all", series["spearman_fisher_raised"][-1]
    for name, figure in LESIONS.items():
        for share in CUTS:
            yield f"lesion_{name}_{share}", "all", series[figure][-1][share // 10 - 1]
    for threshold in THRESHOLDS:
        suffix = "" if threshold == IMPORTANT else f"_from_{threshold}"
        for quantity, layer, value in spread(series, hidden, threshold, seed):
            yield f"{quantity}{suffix}", layer, value


def counts_of(series: dict[str, Any], hidden: list[int], threshold: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Important inputs of each neuron of the layer above each weight matrix, and outputs of each neuron of the layer below."""
    inputs, outputs = (np.array(series[f"{side}_from_{threshold}"][-1], dtype=int) for side in ("inputs", "outputs"))
    above = np.split(inputs, np.cumsum(hidden))
    pixels = len(outputs) - sum(hidden)
    below = np.split(outputs, np.cumsum([pixels, *hidden[:-1]]))
    return above, below


def spread(series: dict[str, Any], hidden: list[int], threshold: float, seed: int) -> Iterator[tuple[str, str, float | None]]:
    """How unevenly important synapses are spread over neurons, against p shuffled within a weight matrix."""
    above, below = counts_of(series, hidden, threshold)
    rng = np.random.default_rng(seed)
    for layer, (a, b) in enumerate(zip(above, below, strict=True), start=1):
        for side, counts, slots in (("inputs", a, len(b)), ("outputs", b, len(a))):
            for name, value in against_shuffles(counts, slots, rng).items():
                yield name.format(side), str(layer), value
    for layer in range(len(hidden)):
        ins, outs = above[layer], below[layer + 1]
        varies = ins.std() > 0 and outs.std() > 0
        yield "pearson_in_out", str(layer + 1), float(np.corrcoef(ins, outs)[0, 1]) if varies else None


def against_shuffles(counts: np.ndarray, slots: int, rng: np.random.Generator) -> dict[str, float]:
    """Counts of important synapses per neuron beside those of shuffled weight matrices.

    Args:
        counts: (neurons,).
        slots: Synapses that each neuron has there.
        rng: Draws the shuffles. How many of a shuffled matrix's important synapses fall to each neuron is multivariate
            hypergeometric, so the matrix itself is not needed.

    Returns:
        With {} for inputs or outputs. ks_d_{}, ks_p_{}: mean of the two-sample Kolmogorov–Smirnov D and median of its p over
        shuffles. few_{}, many_{}: share of neurons below and above the control's mean by more than two standard deviations of
        the control; few_{}_shuffled, many_{}_shuffled: the same of the control.
    """
    control = rng.multivariate_hypergeometric([slots] * len(counts), int(counts.sum()), size=SHUFFLES, method="marginals")
    d, p = _against_each(counts, control)
    low, high = control.mean() - 2 * control.std(), control.mean() + 2 * control.std()
    return {
        "ks_d_{}": float(np.mean(d)),
        "ks_p_{}": float(np.median(p)),
        **{"few_{}": float((counts < low).mean()), "many_{}": float((counts > high).mean())},
        **{"few_{}_shuffled": float((control < low).mean()), "many_{}_shuffled": float((control > high).mean())},
    }


def _against_each(counts: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """D and p of the two-sample Kolmogorov–Smirnov test of counts (N,) against each row of a control (S, N); each (S,)."""
    shuffles, n = control.shape
    values = max(counts.max(), control.max()) + 1
    offsets = values * np.arange(shuffles)[:, None]
    theirs = np.bincount((control + offsets).ravel(), minlength=values * shuffles).reshape(shuffles, values).cumsum(axis=1)
    ours = np.bincount(counts, minlength=values).cumsum()
    steps = np.abs(ours - theirs).max(axis=1)  # D, in steps of 1 / N
    return steps / n, np.array([_p_of_steps(int(number), n) for number in steps])


@cache
def _p_of_steps(steps: int, n: int) -> float:
    """p of the two-sample test for samples of n each, whose distributions are at most so many steps of 1 / n apart."""
    sample = np.arange(n)
    return float(stats.ks_2samp(sample, sample + steps - 0.5 * (steps > 0)).pvalue)


def table_by_l2(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard error over seeds: a line for each quantity and layer, a column for each l2."""
    lines = []
    for (quantity, layer), rows in summary.groupby(["quantity", "layer"], sort=False):
        cells = {f"l2 = {l2:g}": _cell(values_at_l2.value) for l2, values_at_l2 in rows.groupby("l2", sort=False)}
        lines.append({"quantity": quantity, "layer": layer, **cells})
    return pd.DataFrame(lines)


def _cell(values: pd.Series) -> str:
    sample = Sample.from_values(values.dropna().astype(float).tolist())
    return plus_minus(sample.mean, sample.standard_error, ".3g", ".1g")
