"""Claims S1 to S13: which synapses are important, and where they are (Fig. 2 and 3, appendix 1d and 2)."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from pipeline.report.findings import Evidence, Finding, Values, above, value, z_of

PRINTED_L2 = 0.0
"""The penalty that decides: the text names none, and what is printed fits no penalty best (docs/energy.md)."""
D, R = 0.505, (0.9390, 0.7999)
"""Of Kolmogorov–Smirnov in Fig. 3a, and of inputs and outputs in hidden layers 1 and 2."""
MARGIN_D, MARGIN_Z = 0.1, 0.2
NOTHING = pd.DataFrame(columns=["quantity", "layer", "model", "l2", "seed", "value"])


class _At:
    """The values of a summary at one strength of the penalty."""

    def __init__(self, long: pd.DataFrame, l2: float) -> None:
        at = long[long.l2 == l2].groupby(["quantity", "layer"])
        self.of = {key: values.set_index("seed").value.astype(float) for key, values in at}
        self.layers = sorted({layer for _, layer in self.of} - {"all"})

    def __call__(self, quantity: str, layer: str | int = "all") -> pd.Series:
        return self.of.get((quantity, str(layer)), pd.Series(dtype=float))


def sparsity_findings(evidence: Evidence) -> Iterator[Finding]:
    """What was found on each of the claims: first without a penalty, then with each as a reading."""
    long = evidence.get("sparsity", NOTHING).astype({"layer": str})
    strengths = [PRINTED_L2, *(l2 for l2 in sorted(long.l2.unique()) if l2 != PRINTED_L2)]
    for l2 in strengths:
        at, reading = _At(long, l2), "" if l2 == PRINTED_L2 else f"ℓ2 {l2:g}"
        for find in (_of_synapses, _of_neurons, _of_thresholds):
            yield from find(at, reading)
    start = evidence.get("uniform-start", NOTHING).astype({"layer": str})
    yield _few_high("S2", "share of p from 0.9 and below 0.3, from a uniform start", _At(start, 0.0), "")


def _few_high(id: str, claim: str, at: _At, reading: str) -> Finding:
    high, low = at("share_p_from_0.9"), at("share_p_below_0.3")
    parts = {"0.25 minus the share from 0.9:": 0.25 - high, "share below 0.3 minus 0.5:": low - 0.5}
    return above(id, claim, parts, test="one-sample t", reading=reading)


def _of_synapses(at: _At, reading: str) -> Iterator[Finding]:
    def found(id: str, claim: str, parts: dict[str, Values], *more: Any) -> Finding:
        return above(id, claim, parts, *more, reading=reading)

    yield _few_high("S1", "share of p from 0.9 and below 0.3", at, reading)
    cuts = {f"{cut} %": at(f"lesion_p_{cut}") - at(f"lesion_random_{cut}") for cut in (50, 70, 80)}
    yield found("S3", "accuracy, lowest p removed minus random order", cuts)
    better = {f"{cut} %": at(f"lesion_weight_{cut}") - at(f"lesion_p_{cut}") for cut in (50, 70, 80, 90)}
    yield found("S4", "accuracy, lowest |w̄| removed minus lowest p", better)
    high, low = at("energy_per_synapse_high"), at("energy_per_synapse_low")
    yield found("S5", "energy per synapse, p from 0.9 over below", {"": np.log(high / low)}, "ratio")
    fisher = np.log(at("fisher_high") / at("fisher_low"))
    yield found("S6", "Fisher information, p from 0.9 over below", {"": fisher}, "ratio")
    z = z_of(at("pearson_fisher_p"))
    yield found("S6", "correlation of Fisher information and p", {"r =": z}, "z", "Fisher's z")
    rho = z_of(at("spearman_fisher_raised"))
    yield found("S7", "rank correlation of Fisher information and how often p is raised", {"rho =": rho}, "z", "Fisher's z")
    weight = z_of(at("pearson_weight_p"))
    difference = z - weight if len(z) == len(weight) else []
    yield found("S8", "correlation of p with Fisher information minus that with |w̄|, in z", {"": difference}, "", "Fisher's z")


def _against(at: _At, name: str, limit: float = -2.0) -> Callable[[str | int], pd.Series]:
    """By how many powers of ten a Kolmogorov–Smirnov p is below 0.01, by seed."""
    return lambda layer: limit - np.log10(at(name, layer).clip(lower=1e-300))


def _of_neurons(at: _At, reading: str) -> Iterator[Finding]:
    for layer, which in ((2, reading), (1, f"{reading}, first hidden layer".lstrip(", "))):
        claim = f"D of important inputs, hidden layer {layer}"
        yield value("S9", claim, at("ks_d_inputs", layer), D, MARGIN_D, published=f"D = {D}", reading=which)
        parts = {"powers of ten below p = 0.01:": _against(at, "ks_p_inputs")(layer)}
        yield above("S9", f"p of important inputs, hidden layer {layer}", parts, test="t of log10 p", reading=which)
        beyond = {side: at(f"{side}_inputs", layer) - at(f"{side}_inputs_shuffled", layer) for side in ("few", "many")}
        yield above("S10", f"share of neurons beyond 2 SD minus the control's, hidden layer {layer}", beyond, reading=which)
    for layer, printed in zip((1, 2), R, strict=True):
        claim = f"r of important inputs and outputs, hidden layer {layer}"
        z, there = z_of(at("pearson_in_out", layer)), float(z_of([printed])[0])
        yield value("S11", claim, z, there, MARGIN_Z, "z", published=f"r = {printed}", reading=reading)
    last = at.layers[-1] if at.layers else "3"
    matrices = [("inputs", of) for of in at.layers if of != last] + [("outputs", of) for of in at.layers]
    parts = {f"{side}, matrix {of}": _against(at, f"ks_p_{side}")(of) for side, of in matrices} or {"": []}
    yield above("S12", "p of every weight matrix, inputs and outputs", parts, test="t of log10 p", reading=reading)
    not_there = {"powers of ten above p = 0.01:": -_against(at, "ks_p_inputs")(last)}
    claim = "p of the inputs of output neurons, not below 0.01"
    yield above("S12", claim, not_there, test="t of log10 p", published="p = 0.41", reading=reading)


def _of_thresholds(at: _At, reading: str) -> Iterator[Finding]:
    parts: dict[str, Values] = {}
    for threshold in (0.8, 0.95):
        suffix, of = f"_from_{threshold}", f"from {threshold}"
        parts[f"KS of inputs, {of}"] = _against(at, f"ks_p_inputs{suffix}")(2)
        for side in ("few", "many"):
            parts[f"{side} inputs, {of}"] = at(f"{side}_inputs{suffix}", 2) - at(f"{side}_inputs_shuffled{suffix}", 2)
        parts |= {f"r in layer {layer}, {of}": z_of(at(f"pearson_in_out{suffix}", layer)) for layer in (1, 2)}
    yield above("S13", "S9, S10 and S11 with thresholds 0.8 and 0.95", parts, test="t", reading=reading)
