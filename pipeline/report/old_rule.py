"""The rule for verdicts that was in force before `rule`, for what it says beside it.

It took Welch's test against a printed mean with the print's own spread, whose degrees of freedom fall to those of three
repetitions as our seeds grow; it adjusted by Holm over everything in a family, other readings too; and it took one margin of
1.5 points for all. results/verdict-rates.md shows what that does.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from pipeline.report.statistics import Difference, holm
from pipeline.report.verdicts import NOT_REPRODUCED, NOT_TESTED, REPRODUCED, UNDECIDED, Verdict

ALPHA = 0.05
MARGIN = 1.5
"""Points of accuracy; other units had the margins that they have now."""


def with_old_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, each with what the former rule says of the same comparison."""
    old_verdicts: dict[int, str] = {}
    for family in dict.fromkeys(v.family for v in verdicts):
        members = [(i, v) for i, v in enumerate(verdicts) if v.family == family]
        differs = holm([math.nan if (d := _difference(v)) is None else d.p for _, v in members])
        bounded = holm([_p_within_margin(v) for _, v in members])
        old_verdicts |= {i: _decide(v, p, p_margin) for (i, v), p, p_margin in zip(members, differs, bounded, strict=True)}
    return [replace(v, old_verdict=old_verdicts[i]) for i, v in enumerate(verdicts)]


def _difference(v: Verdict) -> Difference | None:
    return v.welch or v.difference


def _p_within_margin(v: Verdict) -> float:
    difference = _difference(v)
    if difference is None or v.kind == "above":
        return math.nan
    margin = MARGIN if v.unit in ("%", "points") else v.margin
    return difference.p_above(-margin) if v.kind == "no worse" else difference.p_within(margin)


def _decide(v: Verdict, p: float, p_margin: float) -> str:
    difference = _difference(v)
    if difference is None:
        return NOT_TESTED
    if math.isnan(p):
        return UNDECIDED
    detected = p < ALPHA
    if v.kind == "above":
        if difference.mean > 0:
            return REPRODUCED if detected else UNDECIDED
        return NOT_REPRODUCED if p * max(1, len(v.parts)) < ALPHA else UNDECIDED
    if p_margin < ALPHA:
        return REPRODUCED
    wrong = detected and (difference.mean < 0 or v.kind != "no worse")
    return NOT_REPRODUCED if wrong else UNDECIDED
