"""Claims E1 to E8: information and energy (Fig. 1, appendix 1a to 1c)."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipeline.report.energy import last_epoch
from pipeline.report.findings import Evidence, Finding, above

RIVALS = ("deterministic", "fixed")
L2 = (0.0, 0.001, 0.005, 0.01, 0.05, 0.1)
"""Strengths of the penalty in the released configurations (PAPER section 6)."""
SETTINGS = ("p_up = 0.0525", "p_up = 0.0875", "p_down = 0.0525", "p_down = 0.0875")
SETTINGS_L2 = (0.01, 0.1)
NOTHING = pd.DataFrame(columns=["model", "l2", "seed", "epoch", "energy", "information", "neuronal_energy", "accuracy"])


def energy_findings(evidence: Evidence) -> Iterator[Finding]:
    """What was found on each of the claims, and on their readings."""
    series = evidence.get("energy", NOTHING)
    last = last_epoch(series)
    yield _tradeoff(last)
    for id, rival in zip(("E2", "E3"), RIVALS, strict=True):
        claim = f"information per energy, plastic over {rival}"
        yield above(id, f"{claim}, each at its best ℓ2", {"": _best(last, "per_energy", rival)}, "ratio")
        best = _with_ratio(series)
        yield above(
            id, f"{claim}, each at its best ℓ2 and epoch", {"": _best(best, "per_energy", rival)}, "ratio", reading="best epoch"
        )
    by_l2 = {f"ℓ2 {l2:g}": _log_ratio(last, "energy", "fixed", "deterministic", l2) for l2 in _strengths(last)}
    yield above("E4", "energy, fixed over deterministic, at every ℓ2", by_l2, "ratio")
    yield above(
        "E4",
        "information per energy, deterministic over fixed, each at its best ℓ2",
        {"": _best(last, "per_energy", "fixed", "deterministic")},
        "ratio",
        reading="at the best ℓ2",
    )
    each = {
        f"{rival}, ℓ2 {l2:g}": _log_ratio(last, "per_energy", "plastic", rival, l2)
        for rival in RIVALS
        for l2 in _strengths(last)
    }
    yield above("E5", "information per energy, plastic over both rivals, at every ℓ2", each, "ratio")
    for rival in RIVALS:
        of = {f"ℓ2 {l2:g}": _log_ratio(last, "per_energy", "plastic", rival, l2) for l2 in _strengths(last)}
        yield above("E5", f"information per energy, plastic over {rival}, at every ℓ2", of, "ratio", reading=f"{rival} alone")
    neuronal = {f"over {rival}": _best(last, "per_neuronal", rival) for rival in RIVALS}
    yield above("E6", "information per neuronal energy, plastic over both rivals, each at its best ℓ2", neuronal, "ratio")
    yield _low_release(evidence.get("fixed-release"))
    yield _quarter(evidence.get("energy-settings", NOTHING.assign(setting=[])), last)


def _strengths(last: pd.DataFrame) -> list[float]:
    """Those of the paper, and whatever else there is: a claim on all of them is not tested before all are there."""
    return sorted({*L2, *last.l2.unique()})


def _log_ratio(last: pd.DataFrame, value: str, model: str, rival: str, l2: float, own_l2: float | None = None) -> pd.Series:
    """log of a model's value over a rival's, by seed."""
    ours, theirs = (
        last[(last.model == m) & (last.l2 == strength)].set_index("seed")[value].astype(float)
        for m, strength in ((model, l2 if own_l2 is None else own_l2), (rival, l2))
    )
    return np.log(ours / theirs).dropna()


def _best(last: pd.DataFrame, value: str, rival: str, model: str = "plastic") -> pd.Series:
    """log of a model's value over a rival's, by seed, each at the ℓ2 (and epoch) where its mean over seeds is largest."""
    found = []
    for name in (model, rival):
        of = last[last.model == name]
        if not set(L2) <= set(of.l2):  # the best of some of them is not the best
            return pd.Series(dtype=float)
        means = of.groupby(["l2", "epoch"])[value].mean()
        l2, epoch = means.idxmax()
        found.append(of[(of.l2 == l2) & (of.epoch == epoch)].set_index("seed")[value].astype(float))
    return np.log(found[0] / found[1]).dropna()


def _with_ratio(series: pd.DataFrame) -> pd.DataFrame:
    return series.assign(per_energy=1000 * series.information / series.energy)


def _tradeoff(last: pd.DataFrame) -> Finding:
    """Both energy and information fall from no penalty to the strongest."""
    low, high = _strengths(last)[0], _strengths(last)[-1]
    parts = {
        f"{value} of {model}": _log_ratio(last, value, model, model, high, low) if high > low else pd.Series(dtype=float)
        for model in ("plastic", *RIVALS)
        for value in ("energy", "information")
    }
    return above("E1", f"energy and information, ℓ2 {low:g} over {high:g}, of every model", parts, "ratio")


def _low_release(last: pd.DataFrame | None) -> Finding:
    claim = "information per energy, the best fixed p up to 0.5 over the best above"
    if last is None or last.empty:
        return above("E7", claim, {"": []})
    means = last.groupby("release").per_energy.mean()
    sides = [means[means.index <= 0.5], means[means.index > 0.5]]
    if min(map(len, sides)) == 0:
        return above("E7", claim, {"": []})
    low, high = (last[last.release == side.idxmax()].set_index("seed").per_energy.astype(float) for side in sides)
    name = f"p = {sides[0].idxmax():g} over p = {sides[1].idxmax():g}:"
    return above("E7", claim, {name: np.log(low / high).dropna()}, "ratio")


def _quarter(series: pd.DataFrame, last: pd.DataFrame) -> Finding:
    """The plastic model with other steps of p, against the rivals of the main experiment at the same ℓ2 and seeds."""
    ends = last_epoch(series)
    parts = {}
    for setting in SETTINGS:
        for l2 in SETTINGS_L2:
            own = ends[(ends.setting == setting) & (ends.l2 == l2)]
            for rival in RIVALS:
                theirs = last[(last.model == rival) & (last.l2 == l2)]
                both = pd.concat([own.assign(model="plastic"), theirs])
                parts[f"{setting}, ℓ2 {l2:g}, {rival}"] = _log_ratio(both, "per_energy", "plastic", rival, l2)
    claim = "information per energy, plastic with p_up or p_down ± 25 % over both rivals"
    return above("E8", claim, parts, "ratio")
