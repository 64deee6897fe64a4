"""Claims E1 to E8: information and energy (Fig. 1, appendix 1a to 1c)."""

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from pipeline.experiments.energy.summary import EPOCH_COLUMNS, LABELS, by_epoch, last_epoch
from pipeline.paper import BEST_L2, L2, QUARTER_L2, RIVALS
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed, with_lost
from pipeline.report.verdicts import Verdict, order

FAMILY, READINGS = "energy", "energy, other readings"
LOW_RELEASE = 0.5
"""Up to which a fixed release probability counts as low; the paper prints no limit."""


def energy_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on each of the claims, and on their readings."""
    from pipeline.experiments.energy.fixed_release import ACCURACY, PER_ENERGY, RELEASES, by_release
    from pipeline.experiments.energy.settings import ONE_AT_A_TIME, TOGETHER, by_setting

    rows = results.rows("energy", ("model", "l2"))
    epochs = _all_epochs(rows) if rows is not None else pd.DataFrame(columns=list(EPOCH_COLUMNS))
    last = last_epoch(epochs)
    yield from model_claims(epochs)
    matched = results.rows("matched-release", ("model", "l2", "release"))
    if matched is not None:
        ends = pd.concat([last[last.model == "plastic"], last_epoch(_all_epochs(matched))], ignore_index=True)
        claim = "information per energy, plastic over fixed with its mean p at each ℓ2"
        best = {"": _at_best(ends, "per_energy", "plastic", "fixed")}
        yield order("E3", f"{claim}, each at its best ℓ2", READINGS, best, "ratio", reading="p matched at each ℓ2")
        each = {f"ℓ2 {l2:g}": _over(ends, "per_energy", "plastic", "fixed", l2) for l2 in _strengths(ends)}
        yield order("E5", f"{claim}, at every ℓ2", READINGS, each, "ratio", reading="fixed alone, p matched at each ℓ2")
    swept = results.rows("fixed-release", ("part", "release", "eta0"))
    for criterion in (PER_ENERGY, ACCURACY):
        reading = "" if criterion == PER_ENERGY else f"learning rates by {criterion}"
        yield _low_release(pd.DataFrame() if swept is None else by_release(swept, criterion), RELEASES, reading)
    changed = results.rows("energy-settings", ("setting", "l2"))
    ends = last.assign(setting=[""] * len(last))
    if changed is not None:
        ends = last_epoch(with_lost(by_setting(changed), changed, ("setting", *LABELS), ("epoch",)))
    claim = "information per energy, plastic with p_up and p_down ± 25 % over both rivals"
    yield order("E8", f"{claim}, at ℓ2 {BEST_L2:g}", FAMILY, _quarter(ends, last, TOGETHER, (BEST_L2,)), "ratio")
    for l2 in QUARTER_L2:
        claim = f"information per energy, plastic with p_up or p_down ± 25 % over both rivals, at ℓ2 {l2:g}"
        parts = _quarter(ends, last, ONE_AT_A_TIME, (l2,))
        yield order("E8", claim, READINGS, parts, "ratio", reading=f"one at a time, ℓ2 {l2:g}")


def _all_epochs(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each run and epoch, with nan of those that were lost."""
    return with_lost(by_epoch(rows), rows, LABELS, ("epoch",))


def model_claims(epochs: pd.DataFrame, penalties: Sequence[float] = L2, reading: str = "") -> Iterator[Verdict]:
    """E1 to E6, of three models over penalties.

    Args:
        epochs: As `summary.by_epoch` makes it.
        penalties: A claim is not tested before there are rows at all of these.
        reading: What all of it is a reading of; empty for what decides, which has its own readings as well.
    """
    family = READINGS if reading else FAMILY
    last = last_epoch(epochs)
    strengths = _strengths(last, penalties)
    yield _tradeoff(last, strengths, family, reading)
    every_epoch = epochs.assign(per_energy=1000 * epochs.information / epochs.energy)
    for id, rival in zip(("E2", "E3"), RIVALS, strict=True):
        claim = f"information per energy, plastic over {rival}"
        best = {"": _at_best(last, "per_energy", "plastic", rival, penalties)}
        yield order(id, f"{claim}, each at its best ℓ2", family, best, "ratio", reading=reading)
        if not reading:
            at_best_epoch = {"": _at_best(every_epoch, "per_energy", "plastic", rival)}
            yield order(id, f"{claim}, each at its best ℓ2 and epoch", READINGS, at_best_epoch, "ratio", reading="best epoch")
    costs = {f"ℓ2 {l2:g}": _over(last, "energy", "fixed", "deterministic", l2) for l2 in strengths}
    yield order("E4", "energy, fixed over deterministic, at every ℓ2", family, costs, "ratio", reading=reading)
    by_rival = {rival: {f"ℓ2 {l2:g}": _over(last, "per_energy", "plastic", rival, l2) for l2 in strengths} for rival in RIVALS}
    both = {f"{rival}, {l2}": values for rival, parts in by_rival.items() for l2, values in parts.items()}
    claim = "information per energy, plastic over both rivals, at every ℓ2"
    yield order("E5", claim, family, both, "ratio", reading=reading)
    neuronal = {
        f"{rival}, ℓ2 {l2:g}": _over(last, "per_neuronal", "plastic", rival, l2) for rival in RIVALS for l2 in strengths
    }
    claim = "information per neuronal energy, plastic over both rivals"
    yield order("E6", f"{claim}, at every ℓ2", family, neuronal, "ratio", reading=reading)
    if reading:
        return
    claim = "information per energy, deterministic over fixed, each at its best ℓ2"
    best = {"": _at_best(last, "per_energy", "deterministic", "fixed")}
    yield order("E4", claim, READINGS, best, "ratio", reading="at the best ℓ2")
    for rival, parts in by_rival.items():
        claim = f"information per energy, plastic over {rival}, at every ℓ2"
        yield order("E5", claim, READINGS, parts, "ratio", reading=f"{rival} alone")
    claim = "information per neuronal energy, plastic over both rivals"
    best = {f"over {rival}": _at_best(last, "per_neuronal", "plastic", rival) for rival in RIVALS}
    yield order("E6", f"{claim}, each at its best ℓ2", READINGS, best, "ratio", reading="at the best ℓ2")


def _strengths(last: pd.DataFrame, penalties: Sequence[float] = L2) -> list[float]:
    """Those asked for, and whatever else there is: a claim on all of them is not tested before all are there."""
    return sorted({*penalties, *last.l2.unique()})


def _values(last: pd.DataFrame, value: str, model: str, l2: float) -> BySeed:
    return BySeed.from_frame(last[(last.model == model) & (last.l2 == l2)], value)


def _over(last: pd.DataFrame, value: str, model: str, rival: str, l2: float) -> BySeed:
    """log of a model's value over a rival's, by seed, at one penalty."""
    return _values(last, value, model, l2).log_ratio(_values(last, value, rival, l2))


def _at_best(lines: pd.DataFrame, value: str, model: str, rival: str, penalties: Sequence[float] = L2) -> BySeed:
    """log of a model's value over a rival's, by seed, each at the ℓ2 (and epoch) where its mean over seeds is largest."""
    best = []
    for name in (model, rival):
        model_lines = lines[lines.model == name]
        if not set(penalties) <= set(model_lines.l2):  # the best of some of them is not the best
            return BySeed()
        l2, epoch = model_lines.groupby(["l2", "epoch"])[value].mean().idxmax()
        best.append(BySeed.from_frame(model_lines[(model_lines.l2 == l2) & (model_lines.epoch == epoch)], value))
    return best[0].log_ratio(best[1])


def _tradeoff(last: pd.DataFrame, strengths: Sequence[float], family: str, reading: str) -> Verdict:
    """Both energy and information fall from no penalty to the strongest."""
    low, high = strengths[0], strengths[-1]
    parts = {
        f"{value} of {model}": _values(last, value, model, low).log_ratio(_values(last, value, model, high))
        for model in ("plastic", *RIVALS)
        for value in ("energy", "information")
    }
    claim = f"energy and information, ℓ2 {low:g} over {high:g}, of every model"
    return order("E1", claim, family, parts, "ratio", reading=reading)


def _low_release(last: pd.DataFrame, releases: Sequence[float], reading: str) -> Verdict:
    """E7, where there are rows at all of these release probabilities: the best of some of them is not the best."""
    claim = f"information per energy, the best fixed p up to {LOW_RELEASE:g} over the best above"
    family = READINGS if reading else FAMILY
    means = last.groupby("release").per_energy.mean() if len(last) else pd.Series(dtype=float)
    low, high = means[means.index <= LOW_RELEASE], means[means.index > LOW_RELEASE]
    if not {*releases} <= {*means.index}:
        return order("E7", claim, family, {"": BySeed()}, "ratio", reading=reading)
    best_low, best_high = (BySeed.from_frame(last[last.release == side.idxmax()], "per_energy") for side in (low, high))
    part = f"p = {low.idxmax():g} over p = {high.idxmax():g}:"
    return order("E7", claim, family, {part: best_low.log_ratio(best_high)}, "ratio", reading=reading)


def _quarter(ends: pd.DataFrame, last: pd.DataFrame, settings: Iterable[str], strengths: Iterable[float]) -> dict[str, BySeed]:
    """The plastic model with other steps of p, against the rivals of the main experiment at the same ℓ2 and seeds."""
    parts = {}
    for setting in settings:
        for l2 in strengths:
            changed = ends[(ends.setting == setting) & (ends.l2 == l2)]
            for rival in RIVALS:
                theirs = _values(last, "per_energy", rival, l2)
                parts[f"{setting}, {rival}"] = BySeed.from_frame(changed, "per_energy").log_ratio(theirs)
    return parts
