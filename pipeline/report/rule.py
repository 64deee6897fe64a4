"""The rule by which verdicts are reached, by intervals over our seeds.

A printed value is *not reproduced* when it lies outside the interval in which as many of our networks as are printed would
give it, after an adjustment over the printed values that are tested beside it. It is *reproduced* when it lies inside, no
farther from ours than the margin of its kind of cell, and the 95 % interval is no wider than that margin on either side.
Inside an interval that is wider it is *undecided*. A printed order is reproduced when it holds in every part, each at 2.5 %
(an intersection-union test, Berger 1982), and not reproduced when a part is detected the other way round, adjusted by the
number of parts that are not detected in the order. A likeness is reproduced when the 95 % interval lies within the margin, and
not when it lies beyond it. Readings that decide nothing are in no adjustment. How often this errs is simulated in
`experiments/verdicts/rates`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from pipeline.report.statistics import MOST_SEEDS, benjamini_hochberg, seeds_to_decide
from pipeline.report.verdicts import NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED, Verdict, estimate

ALPHA = 0.05
NOTE = (
    "Accuracy in %. The difference and the margin are in the unit of the test: of a ratio its natural logarithm (ln), of a "
    "correlation Fisher's z (z). "
    "*Printed values*: reproduced if as many of our networks as are printed could have given the value (it lies "
    "in the interval), it is no farther than the margin, and the 95 % interval is no wider than the margin on either side; not "
    "reproduced if it lies outside; undecided inside a wider interval. p is p_alone adjusted over the printed values of the "
    f"family that decide (Benjamini & Hochberg 1995, α = {ALPHA}). The interval is that of 95 %, or, where the printed value "
    "lies outside of it, the one at the level that follows from the adjustment. *Orders*: every part must hold, p of the "
    "least certain part, no adjustment; against the order, p times the number of parts that are not shown to hold. "
    "*Likenesses*: the 95 % interval within the margin (p of a difference as large), or beyond it. `seeds`: how many would "
    "decide if mean and spread stay as they are. "
    "two_sample: Welch's test of the same difference, which the paper printed; ours are paired by seed. "
    "old_verdict: what the rule says that was in force before (verdict-rates.md)."
)


def decide(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with what the rule says of each; they come family by family, in the order of their first appearance."""
    families = dict.fromkeys(v.family for v in verdicts)
    return [v for family in families for v in _decide_family([v for v in verdicts if v.family == family])]


def _decide_family(family: Sequence[Verdict]) -> list[Verdict]:
    alone = [math.nan if v.difference is None else v.difference.p for v in family]
    together = [v.kind == "mean" and v.decides for v in family]
    adjusted = benjamini_hochberg([p if adjust else math.nan for p, adjust in zip(alone, together, strict=True)])
    tested, outside = sum(p == p for p in adjusted), sum(p < ALPHA for p in adjusted)
    decided = []
    for v, p_alone, p_adjusted in zip(family, alone, adjusted, strict=True):
        p, share = p_alone, 1.0
        if p_adjusted == p_adjusted:
            # Intervals at the level at which the last of them is outside, or the next would be (Benjamini & Yekutieli 2005).
            p, share = p_adjusted, min(tested, outside + (p_adjusted >= ALPHA)) / tested
        elif v.kind == "above" and v.difference is not None and v.difference.mean < 0:
            # The worst of several parts is below 0 by chance more often than one is (Bonferroni); those shown above 0 are not.
            could_fail = max(1, sum(d.mean <= 0 or not d.p < ALPHA for d in v.parts.values()))
            p, share = min(1.0, p_alone * could_fail), 1 / could_fail
        elif v.kind in ("similar", "no worse"):
            p = _p_of_margin(v)
        decided.append(_decide_one(replace(v, p_alone=p_alone, p=p, level=1 - ALPHA * share)))
    return decided


def _decide_one(v: Verdict) -> Verdict:
    difference = v.difference
    if difference is None:
        return replace(v, verdict=NOT_TESTED, seeds="no runs")
    v = replace(v, verdict=_verdict(v))
    if v.verdict == UNDECIDED:
        v = replace(v, seeds=_seeds_that_would_decide(v))
    # A printed value that lies in the 95 % interval is judged by the width of that one.
    level = 1 - ALPHA if v.kind == "mean" and v.p_alone >= ALPHA else v.level
    effect, low, high = estimate(difference, v.unit, v.origin, level)
    return replace(v, level=level, effect=effect, low=low, high=high)


def _verdict(v: Verdict) -> str:
    assert v.difference is not None
    if math.isnan(v.p) or not v.difference.standard_error:  # a few equal values say nothing about how far others scatter
        return UNDECIDED
    if v.kind == "above":
        return UNDECIDED if v.p >= ALPHA else REPRODUCED if v.difference.mean > 0 else NOT_REPRODUCED
    low, high = v.difference.interval()
    if v.kind == "no worse":
        return REPRODUCED if low > -v.margin else NOT_REPRODUCED if high < -v.margin else UNDECIDED
    if v.kind == "similar":
        beyond = low > v.margin or high < -v.margin
        return REPRODUCED if -v.margin < low and high < v.margin else NOT_REPRODUCED if beyond else UNDECIDED
    if v.p < ALPHA:
        return NOT_REPRODUCED
    near = max(abs(v.difference.mean), v.difference.half_width()) <= v.margin
    return REPRODUCED if near else UNDECIDED


def _p_of_margin(v: Verdict) -> float:
    """The p value of a difference as large as the margin, against the side of it on which our difference lies.

    It is below ALPHA where the 95 % interval lies wholly on that side.
    """
    d = v.difference
    if d is None:
        return math.nan
    if v.kind == "no worse":
        one_sided = d.p_above(-v.margin) if d.mean >= -v.margin else d.p_below(-v.margin)
    elif abs(d.mean) <= v.margin:
        one_sided = d.p_within(v.margin)
    else:
        one_sided = d.p_above(v.margin) if d.mean > 0 else d.p_below(-v.margin)
    return min(2 * one_sided, 1.0)  # nan of nan


def _seeds_that_would_decide(v: Verdict) -> str:
    """In words, if what we estimated is true; of a printed value, if its adjustment stays as it is."""
    assert v.difference is not None
    d = abs(v.difference.mean)
    if math.isnan(v.spread) or math.isnan(d):
        return "at least 2"
    if not v.spread:  # all the values are equal, by which no scatter can be estimated
        return f"at least {v.n + 1}"
    if v.kind == "mean":
        number = _seeds_for_a_printed_value(v, d)
    else:
        distances = [d] if v.kind == "above" else [v.margin + v.difference.mean]
        if v.kind == "similar":
            distances = [v.margin - d, v.margin + d] if d < v.margin else [d - v.margin]
        alpha = (1 - v.level if v.kind == "above" else ALPHA) / 2
        number = seeds_to_decide(v.spread, [abs(distance) for distance in distances], alpha) if all(distances) else None
    return f"about {number}" if number else f"more than {MOST_SEEDS}"


def _seeds_for_a_printed_value(v: Verdict, d: float) -> int | None:
    n = np.arange(2, MOST_SEEDS + 1)
    error = v.spread * np.sqrt(1 / v.repetitions + 1 / n)
    outside = d > stats.t.ppf((1 + v.level) / 2, n - 1) * error
    near = (stats.t.ppf(1 - ALPHA / 2, n - 1) * error <= v.margin) & (d <= v.margin)
    decided = outside | near
    return int(n[decided.argmax()]) if decided.any() else None
