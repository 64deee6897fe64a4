"""A verdict on a claim as one value, and the rule by which verdicts are reached.

A published mean is *reproduced* when ours lies within a margin of it (two one-sided tests), *not reproduced* when a difference
is detected that this does not bound; a published order is reproduced when ours has it and the difference is detected.
Otherwise it is *undecided*, with the seeds that would decide it if what we estimated is true. p values are adjusted by Holm
over each family.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from pipeline.report.by_seed import BySeed
from pipeline.report.statistics import Difference, Sample, holm, paired, seeds_to_decide, unpaired

ALPHA = 0.05
MARGIN = 1.5
"""Points of accuracy within which two means count as the same."""
REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED = "reproduced", "not reproduced", "undecided", "not tested"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)
MOST_PARTS = 3
"""Parts of an order that are shown one by one; of more, the weakest is."""


@dataclass(frozen=True)
class Verdict:
    """What is said of a claim, or of one part or reading of it, and everything that it was decided by.

    Attributes:
        id: Of the claim.
        comparison: What is compared, in words.
        family: Verdicts whose p values are adjusted together.
        kind: mean (a printed value), above (a printed order), similar, or no worse.
        reading: Which of several ways to read the claim; empty for the one that decides.
        published: What is printed, as it is shown.
        printed: The printed number, in the unit of the effect; nan where none is printed.
        parts: Name -> difference, of an order that has to hold in every part; the weakest decides.
        difference: What decides: ours minus published, or subject minus rival; None without runs.
        effect, low, high: What came out and its 95 % interval, in the print's own unit.
        unit: %, points, ratio, r, D, or empty for a plain number.
        n, lost: Seeds whose runs finished, and seeds whose runs were lost.
        test: By name.
        margin: Within which two values count as the same.
        spread: Standard deviation over our seeds, for the seeds that would decide.
        other: The published sample, which more seeds of ours do not enlarge.
        one_more: Whether what is published is a single network.
        two_sample: Of a paired claim, the difference by the test that the paper printed; it decides nothing.
        rests_on: Cells of Table 1, as (method, benchmark), whose runs the claim is about.
        run_ids: The runs behind it.
        p, p_margin: Of no difference, and of a difference as large as the margin; adjusted over the family.
        verdict: reproduced, not reproduced, undecided or not tested.
        seeds: Those that would decide an undecided one, in words.
        note: What it rests on that is not reproduced.
    """

    id: str
    comparison: str
    family: str
    kind: str = "above"
    reading: str = ""
    published: str = "–"
    printed: float = math.nan
    parts: Mapping[str, Difference] = field(default_factory=dict)
    difference: Difference | None = None
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    unit: str = ""
    n: int = 0
    lost: int = 0
    test: str = "paired t"
    margin: float = MARGIN
    spread: float = math.nan
    other: Sample | None = None
    one_more: bool = False
    two_sample: Difference | None = None
    rests_on: tuple[tuple[str, str], ...] = ()
    run_ids: tuple[str, ...] = ()
    p: float = math.nan
    p_margin: float = math.nan
    verdict: str = NOT_TESTED
    seeds: str = ""
    note: str = ""


def in_unit(value: float, unit: str) -> float:
    """A logarithm as a ratio and Fisher's z as a correlation; other numbers as they are."""
    if unit == "ratio":
        return math.exp(min(value, 700.0)) if value == value else value
    return math.tanh(value) if unit == "r" else value


def estimate(difference: Difference, unit: str) -> tuple[float, float, float]:
    """The effect and its 95 % interval in a unit: effect, low, high."""
    low, high = difference.interval
    return in_unit(difference.mean, unit), in_unit(low, unit), in_unit(high, unit)


def order(id: str, comparison: str, family: str, parts: Mapping[str, BySeed], unit: str = "", **more: Any) -> Verdict:
    """An order that holds if it holds in every part: differences over seeds, each to be above 0.

    The part that holds least decides, by its one-sided p: an intersection-union test, which keeps the error rate of
    "reproduced" (Berger 1982). A part without rows leaves the whole untested.

    Args:
        id, comparison, family: Of the verdict.
        parts: What is compared -> a difference for each seed; a log ratio where the unit is ratio, Fisher's z where it is r.
        unit: Of the effect.
        more: Further fields of the verdict.
    """
    differences = {name: paired(values.finished) for name, values in parts.items() if values.finished}
    if len(differences) < len(parts) or not differences:
        return Verdict(id, comparison, family, unit=unit, **more)
    weakest = max(differences, key=lambda name: _p_not_above_zero(differences[name]))
    values, difference = parts[weakest], differences[weakest]
    effect, low, high = estimate(difference, unit)
    run_ids = tuple(sorted({run_id for part in parts.values() for run_id in part.run_ids}))
    return Verdict(
        id, comparison, family, parts=differences, difference=difference, effect=effect, low=low, high=high, unit=unit,
        n=len(values.finished), lost=values.lost, spread=_spread(values.finished), run_ids=run_ids, **more,
    )  # fmt: skip


def printed_mean(id: str, comparison: str, family: str, values: BySeed, printed: Sample, **more: Any) -> Verdict:
    """A printed mean with its standard error, which the mean of ours should be near."""
    ours = Sample.from_values(values.finished)
    difference = unpaired(ours, printed) if ours.n else None
    effect, low, high = estimate(paired(values.finished), "") if ours.n else (math.nan,) * 3
    return Verdict(
        id, comparison, family, "mean", published=str(more.pop("published", printed)), printed=printed.mean,
        difference=difference, effect=effect, low=low, high=high, n=ours.n, lost=values.lost, test="Welch",
        spread=_spread(values.finished), other=printed, run_ids=values.run_ids, **more,
    )  # fmt: skip


def printed_value(
    id: str, comparison: str, family: str, values: BySeed, printed: float, unit: str = "", **more: Any
) -> Verdict:
    """A printed value of one network, which another network of ours should be like.

    Args:
        id, comparison, family: Of the verdict.
        values: One for each seed; Fisher's z where the unit is r.
        printed: In the same unit as the values.
        unit: Of the effect.
        more: Further fields of the verdict.
    """
    n, spread = len(values.finished), _spread(values.finished)
    difference, effect, low, high = None, math.nan, math.nan, math.nan
    if n:
        ours = paired(values.finished)
        difference = Difference(ours.mean - printed, spread * math.sqrt(1 + 1 / n), ours.df)
        effect, low, high = estimate(ours, unit)
    return Verdict(
        id, comparison, family, "mean", printed=in_unit(printed, unit), difference=difference, effect=effect, low=low,
        high=high, unit=unit, n=n, lost=values.lost, test="t of one more network", spread=spread, one_more=True,
        run_ids=values.run_ids, **more,
    )  # fmt: skip


def _p_not_above_zero(difference: Difference) -> float:
    """One-sided p of "not above 0"; 1 where there is no scatter to tell by."""
    p = difference.p_above(0.0)
    return 1.0 if p != p else p


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def decide(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with what the rule says of each; they come family by family, in the order of their first appearance."""
    families = dict.fromkeys(v.family for v in verdicts)
    return [v for family in families for v in _decide_family([v for v in verdicts if v.family == family])]


def _decide_family(family: Sequence[Verdict]) -> list[Verdict]:
    differs = holm([math.nan if v.difference is None else v.difference.p for v in family])
    # Each claim has one more test: that the difference is within, or not below, the margin.
    bounded = holm([_p_within_margin(v) for v in family])
    decided = []
    for v, p, p_margin in zip(family, differs, bounded, strict=True):
        verdict = _decide_one(v, p, p_margin)
        seeds = _seeds_that_would_decide(v, _count(differs), _count(bounded)) if verdict == UNDECIDED else ""
        decided.append(replace(v, p=p, p_margin=p_margin, verdict=verdict, seeds="no runs" if verdict == NOT_TESTED else seeds))
    return decided


def _count(p_values: Sequence[float]) -> int:
    return sum(p == p for p in p_values)


def _p_within_margin(v: Verdict) -> float:
    if v.difference is None or v.kind == "above":
        return math.nan
    return v.difference.p_above(-v.margin) if v.kind == "no worse" else v.difference.p_within(v.margin)


def _decide_one(v: Verdict, p: float, p_margin: float) -> str:
    if v.difference is None:
        return NOT_TESTED
    if math.isnan(p):
        return UNDECIDED
    detected = p < ALPHA
    if v.kind == "above":
        if v.difference.mean > 0:
            return REPRODUCED if detected else UNDECIDED
        # The worst of several parts is below 0 by chance more often than one is (Bonferroni).
        return NOT_REPRODUCED if p * max(1, len(v.parts)) < ALPHA else UNDECIDED
    if p_margin < ALPHA:
        return REPRODUCED
    wrong = detected and (v.difference.mean < 0 or v.kind != "no worse")
    return NOT_REPRODUCED if wrong else UNDECIDED


def _seeds_that_would_decide(v: Verdict, family: int, bounded: int) -> str:
    """In words, if what we estimated is true, after Holm's strictest step."""
    assert v.difference is not None
    if math.isnan(v.spread) or math.isnan(v.difference.mean):
        return "at least 2"
    d, alpha, within = v.difference.mean, ALPHA / family, ALPHA / max(1, bounded)
    ways = [(alpha / 2, [abs(d)])] if d < 0 or (d and v.kind != "no worse") else []  # a difference is detected
    if v.kind == "no worse":
        ways.append((within, [v.margin + d]))
    elif v.kind != "above":
        ways.append((within, [v.margin - d, v.margin + d]))
    counts = [seeds_to_decide(v.spread, far, a, v.other, v.one_more) for a, far in ways if min(far) > 0]
    possible = [n for n in counts if n]
    return f"about {min(possible)}" if possible else "no number of our seeds alone" if v.other else "more than 1000"


NOTE = (
    f"Accuracy in %, mean ± standard error. *Reproduced*: within {MARGIN} points of the published mean (two one-sided tests, "
    f"p_margin), or in the published order (p). *Not reproduced*: a difference is detected (p) that is not bounded so. "
    f"*Undecided*: neither; `seeds` would decide it with a chance of 80 % if our estimate is true. "
    f"p adjusted by Holm over each family, α = {ALPHA}. two_sample: Welch's test of the same difference, not adjusted; "
    f"the paper tested two samples, ours are paired by seed."
)


def show_effect(v: Verdict) -> str:
    """What came out, with its 95 % interval, as people read it; a dash where nothing did."""
    return _show_numbers(v.effect, v.low, v.high, v.unit)


def _show_numbers(effect: float, low: float, high: float, unit: str) -> str:
    if effect != effect:
        return "–"
    sign, digits = ("× ", ".3g") if unit == "ratio" else ("", ".4g")
    return f"{sign}{effect:{digits}}" + (f" [{low:{digits}}, {high:{digits}}]" if low == low else "")


def show_ours(v: Verdict) -> str:
    """What came out, part by part where there are several, and the number of seeds."""
    if v.difference is None:
        return "–"
    seeds = f" (n = {v.n}{f', {v.lost} lost' if v.lost else ''})"
    if v.unit == "%":
        return str(Sample(v.effect, v.spread / math.sqrt(v.n), v.n)).split(" (")[0] + seeds
    shown = {name: _show_numbers(*estimate(d, v.unit), v.unit) for name, d in v.parts.items()}
    if len(shown) <= MOST_PARTS and shown:
        return "; ".join(f"{name} {numbers}".strip() for name, numbers in shown.items()) + seeds
    if shown:
        holding = sum(d.mean > 0 for d in v.parts.values())
        weakest = next(name for name, d in v.parts.items() if d is v.difference)
        return f"{holding} of {len(shown)} in this order; weakest: {weakest} {shown[weakest]}{seeds}"
    return show_effect(v) + seeds


def _show_test(difference: Difference | None) -> str:
    if difference is None or difference.p != difference.p:
        return "–"
    return f"t = {difference.t:.2f}, p {'< 0.001' if difference.p < 0.001 else f'= {difference.p:.3f}'}"


def verdict_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """A line for each verdict: results/verdicts.csv."""
    lines = [
        {
            "family": v.family,
            "claim": v.comparison,
            "published": v.published,
            "ours": show_ours(v),
            "difference": "–" if v.difference is None else str(v.difference),
            "test": v.test,
            "t": math.nan if v.difference is None else v.difference.t,
            "p": v.p,
            "p_margin": v.p_margin,
            "two_sample": _show_test(v.two_sample),
            "verdict": v.verdict,
            "seeds": v.seeds,
            "note": v.note,
            "id": v.id,
            "reading": v.reading,
            "interval": "" if v.difference is None else show_effect(v),
            "effect": v.effect,
            "low": v.low,
            "high": v.high,
            "unit": v.unit,
            "n": v.n,
            "run_ids": " ".join(v.run_ids),
        }
        for v in verdicts
    ]
    return pd.DataFrame(lines)


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as people read them."""
    table = verdict_table(verdicts).drop(columns=["effect", "low", "high", "unit", "n", "run_ids"])
    numbers = {name: table[name].map(f"{{:.{digits}f}}".format) for name, digits in (("t", 2), ("p", 3), ("p_margin", 3))}
    return table.assign(**numbers).replace("nan", "–").to_markdown(index=False, disable_numparse=True)
