"""Claims S1 to S13: which synapses are important, and where they are (Fig. 2 and 3, appendix 1d and 2)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pipeline.experiments.sparsity.summary import COLUMNS, CUTS, summarise
from pipeline.paper import UNNAMED_L2
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed, fisher_z, mean_over, with_lost
from pipeline.report.verdicts import Verdict, order, printed_value

FAMILY, READINGS = "sparsity", "sparsity, other readings"
D, R = 0.505, (0.9390, 0.7999)
"""Printed: the Kolmogorov–Smirnov distance (Fig. 3a); the correlation of inputs and outputs in hidden layers 1 and 2."""
MARGIN_D, MARGIN_Z = 0.1, 0.2
"""A fifth of the printed D; in Fisher's z, so that 0.94 stands for 0.91 to 0.96 and 0.80 for 0.72 to 0.86."""
MOST = 0.5
"""From which share on synapses are most (claims S1, S2); few are fewer than these by as much again."""
MARGIN_SHARE = 0.05
"""Within which the shares from two starts are the same: a twentieth of the synapses (claim S2)."""
SHARES = {"share of p from 0.9": "share_p_from_0.9", "share of p below 0.3": "share_p_below_0.3"}
SIGNIFICANT = 0.01
"""Below which the printed p values are."""


REMOVED = (50, 70, 80)
"""Per cent of synapses whose loss is looked at: where random order has cost much and the order by p has not (claim S3)."""


class _Summary:
    """The numbers of a summary at one strength of the penalty, by quantity and layer."""

    def __init__(self, summary: pd.DataFrame, l2: float) -> None:
        groups = summary[summary.l2 == l2].groupby(["quantity", "layer"])
        self._lines = {(str(quantity), str(layer)): lines for (quantity, layer), lines in groups}
        self.where = f"at ℓ2 {l2:g}"
        self.layers = sorted({layer for _, layer in self._lines} - {"all"})

    def __call__(self, quantity: str, layer: str | int = "all") -> BySeed:
        lines = self._lines.get((quantity, str(layer)))
        return BySeed() if lines is None else BySeed.from_frame(lines, "value")


def sparsity_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on each of the claims: first at the penalty that decides, then at each other as a reading."""
    from pipeline.experiments.sparsity.uniform_start import summarise_start

    rows = results.rows("sparsity", ("model", "l2"))
    summary = pd.DataFrame(columns=list(COLUMNS))
    if rows is not None:
        summary = with_lost(summarise(rows), rows, ("model", "l2", "seed"), ("quantity", "layer"))
    for l2 in [UNNAMED_L2, *(l2 for l2 in sorted(summary.l2.unique()) if l2 != UNNAMED_L2)]:
        yield from synapse_claims(summary, l2, "" if l2 == UNNAMED_L2 else f"ℓ2 {l2:g}")
    rows = results.rows("uniform-start", ("l2",))
    start = _Summary(summarise_start(rows) if rows is not None else pd.DataFrame(columns=list(COLUMNS)), 0.0)
    yield _few_high("S2", "share of p from 0.9 and below 0.3, from a uniform start", start, "")
    usual = _Summary(summary, UNNAMED_L2)
    for name, quantity in SHARES.items():
        claim = f"{name}, from a uniform start minus from 0.25"
        yield _order("S2", claim, {"": start(quantity) - usual(quantity)}, "", kind="similar", margin=MARGIN_SHARE)


def synapse_claims(summary: pd.DataFrame, l2: float, reading: str) -> Iterator[Verdict]:
    """S1 and S3 to S13 at a penalty.

    Args:
        summary: As `summary.summarise` makes it.
        l2: The penalty.
        reading: What it is a reading of; empty for what decides.
    """
    for tests in (_synapses, _neurons, _thresholds):
        yield from tests(_Summary(summary, l2), reading)


def _order(id: str, claim: str, parts: Mapping[str, BySeed], reading: str, unit: str = "", **more: Any) -> Verdict:
    return order(id, claim, READINGS if reading else FAMILY, parts, unit, reading=reading, **more)


def _few_high(id: str, claim: str, numbers: _Summary, reading: str) -> Verdict:
    high, low = (numbers(quantity) for quantity in SHARES.values())
    parts = {f"share below 0.3 minus {MOST}:": low - MOST, "share below 0.3 minus share from 0.9:": low - high}
    return _order(id, claim, parts, reading, test="t over seeds")


def _synapses(numbers: _Summary, reading: str) -> Iterator[Verdict]:
    """S1 and S3 to S8."""
    yield _few_high("S1", "share of p from 0.9 and below 0.3", numbers, reading)
    cuts = {f"{cut} %": (numbers(f"lesion_p_{cut}") - numbers(f"lesion_random_{cut}")).in_points() for cut in REMOVED}
    yield _order("S3", "accuracy, lowest p removed minus random order", cuts, reading, "points")
    better = {cut: (numbers(f"lesion_weight_{cut}") - numbers(f"lesion_p_{cut}")).in_points() for cut in CUTS}
    area = mean_over(better.values())
    yield _order(
        "S4",
        f"accuracy, lowest |w̄| removed minus lowest p, mean of 10 to 90 % removed, {numbers.where}",
        {"": area},
        reading,
        "points",
    )
    name = f"{reading}, at each of 50, 70, 80 and 90 %".removeprefix(", ")
    parts = {f"{cut} %": better[cut] for cut in (*REMOVED, CUTS[-1])}
    yield _order("S4", "accuracy, lowest |w̄| removed minus lowest p", parts, name, "points")
    energy = numbers("energy_per_synapse_high").log_ratio(numbers("energy_per_synapse_low"))
    yield _order("S5", "energy per synapse, p from 0.9 over below", {"": energy}, reading, "ratio")
    fisher = numbers("fisher_high").log_ratio(numbers("fisher_low"))
    yield _order("S6", "Fisher information, p from 0.9 over below", {"": fisher}, reading, "ratio")
    with_fisher = numbers("pearson_fisher_p").fisher_z()
    claim = "correlation of Fisher information and p"
    yield _order("S6", claim, {"r =": with_fisher}, reading, "r", test="Fisher's z")
    raised = numbers("spearman_fisher_raised").fisher_z()
    claim = "rank correlation of Fisher information and how often p is raised"
    yield _order("S7", claim, {"rho =": raised}, reading, "r", test="Fisher's z")
    difference = with_fisher - numbers("pearson_weight_p").fisher_z()
    claim = f"correlation of p with Fisher information minus that with |w̄|, in z, {numbers.where}"
    yield _order("S8", claim, {"": difference}, reading, test="Fisher's z")


def _beyond_significance(numbers: _Summary, quantity: str, layer: str | int) -> BySeed:
    """By how many powers of ten a Kolmogorov–Smirnov p is below SIGNIFICANT, by seed."""
    return numbers(quantity, layer).map(lambda p: np.log10(SIGNIFICANT) - np.log10(np.clip(p, 1e-300, None)))


def _neurons(numbers: _Summary, reading: str) -> Iterator[Verdict]:
    """S9 to S12."""
    for layer, name in ((2, reading), (1, f"{reading}, first hidden layer".lstrip(", "))):
        family = READINGS if name else FAMILY
        claim = f"D of important inputs, hidden layer {layer}"
        values = numbers("ks_d_inputs", layer)
        yield printed_value("S9", claim, family, values, D, published=f"D = {D}", margin=MARGIN_D, reading=name)
        parts = {"powers of ten below p = 0.01:": _beyond_significance(numbers, "ks_p_inputs", layer)}
        yield _order("S9", f"p of important inputs, hidden layer {layer}", parts, name, test="t of log10 p")
        beyond = {
            side: numbers(f"{side}_inputs", layer) - numbers(f"{side}_inputs_shuffled", layer) for side in ("few", "many")
        }
        yield _order("S10", f"share of neurons beyond 2 SD minus the control's, hidden layer {layer}", beyond, name)
    family = READINGS if reading else FAMILY
    for layer, printed in zip((1, 2), R, strict=True):
        claim = f"r of important inputs and outputs, hidden layer {layer}"
        values, z = numbers("pearson_in_out", layer).fisher_z(), float(fisher_z(printed))
        yield printed_value(
            "S11", claim, family, values, z, unit="r", published=f"r = {printed}", margin=MARGIN_Z, reading=reading
        )
    last = numbers.layers[-1] if numbers.layers else "3"
    matrices = [("inputs", layer) for layer in numbers.layers if layer != last] + [("outputs", x) for x in numbers.layers]
    every = {f"{side}, matrix {x}": _beyond_significance(numbers, f"ks_p_{side}", x) for side, x in matrices}
    claim = "powers of ten below p = 0.01, for inputs and outputs of every weight matrix"
    yield _order("S12", claim, every or {"": BySeed()}, reading, test="t of log10 p")
    above = {"powers of ten above p = 0.01:": 0.0 - _beyond_significance(numbers, "ks_p_inputs", last)}
    claim = "p of the inputs of output neurons, not below 0.01"
    yield _order("S12", claim, above, reading, test="t of log10 p", published="p = 0.41")


def _thresholds(numbers: _Summary, reading: str) -> Iterator[Verdict]:
    """S13; where no p lies between the thresholds, they choose the same synapses, which is said."""
    parts: dict[str, BySeed] = {}
    for threshold in (0.8, 0.95):
        suffix, condition = f"_from_{threshold}", f"from {threshold}"
        parts[f"powers of ten below p = 0.01, {condition}"] = _beyond_significance(numbers, f"ks_p_inputs{suffix}", 2)
        for side in ("few", "many"):
            control = numbers(f"{side}_inputs_shuffled{suffix}", 2)
            parts[f"{side} inputs, {condition}"] = numbers(f"{side}_inputs{suffix}", 2) - control
        for layer in (1, 2):
            parts[f"r in layer {layer}, {condition}"] = numbers(f"pearson_in_out{suffix}", layer).fisher_z()
    claim = "S9, S10 and S11 with thresholds 0.8 and 0.95"
    sides = ("few_inputs", "many_inputs", "few_inputs_shuffled", "many_inputs_shuffled")
    compared = [*((quantity, 2) for quantity in ("ks_p_inputs", *sides)), ("pearson_in_out", 1), ("pearson_in_out", 2)]
    if numbers.layers and all(
        numbers(quantity, layer).values.equals(numbers(f"{quantity}_from_{threshold}", layer).values)
        for quantity, layer in compared
        for threshold in (0.8, 0.95)
    ):
        claim += ", which give the same numbers as 0.9 here, to the digit"
    yield _order("S13", claim, parts, reading, test="t")
