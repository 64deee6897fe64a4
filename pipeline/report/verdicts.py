"""Verdicts of claims.

A published mean is *reproduced* when ours lies within MARGIN of it (two one-sided tests), *not reproduced* when a difference
is detected that this does not bound; a published order is reproduced when ours has it and the difference is detected.
Otherwise it is *undecided*, with the seeds that would decide it if what we estimated is true. p values are adjusted by Holm
over each family.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.report.statistics import Difference, Sample, holm, seeds_to_decide

ALPHA = 0.05
MARGIN = 1.5  # points of accuracy within which two means count as the same

REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED = "reproduced", "not reproduced", "undecided", "not tested"


@dataclass(frozen=True)
class Claim:
    """One claim and what we found.

    Attributes:
        kind: mean, similar, above or no worse.
        difference: Ours minus published, or subject minus rival; None without runs.
        spread: Standard deviation over our seeds, for the seeds that would decide.
        other: The published sample, which more seeds of ours do not enlarge.
        rests_on: Cells of Table 1 whose runs the claim is about.
        margin: Within which two values count as the same.
        id: Of the list of claims.
        reading: Which of several ways to read it; empty for the one that decides.
        interval: 95 % interval of the effect, in its own unit.
        parts: Comparisons of which the weakest is here; all of them have to hold.
        one_more: Whether what is published is a single network.
        two_sample: Of a paired claim, the difference by the test that the paper printed; shown beside, it decides nothing.
    """

    family: str
    claim: str
    published: str
    ours: str
    test: str
    kind: str
    difference: Difference | None
    spread: float = math.nan
    other: Sample | None = None
    two_sample: Difference | None = None
    rests_on: tuple[str, ...] = ()
    id: str = ""
    reading: str = ""
    margin: float = MARGIN
    interval: str = ""
    parts: int = 1
    one_more: bool = False


def decide(claims: Sequence[Claim]) -> pd.DataFrame:
    """A line for each claim of one family."""
    found = [c.difference for c in claims]
    differs = holm([math.nan if d is None else d.p for d in found])
    # Each claim has one more test: that the difference is within, or not below, the margin.
    bounded = holm([_p_bounded(c) for c in claims])
    lines = []
    for c, p, p_bound in zip(claims, differs, bounded, strict=True):
        verdict, of = _verdict(c, p, p_bound)
        d = c.difference
        lines.append(
            {
                "family": c.family,
                "claim": c.claim,
                "published": c.published,
                "ours": c.ours,
                "difference": "–" if d is None else str(d),
                "test": c.test,
                "t": math.nan if d is None else d.t,
                "p": p,
                "p_margin": p_bound,
                "two_sample": _t_and_p(c.two_sample),
                "verdict": verdict,
                "seeds": _seeds(c, _count(differs), _count(bounded if c.id else differs)) if verdict == UNDECIDED else of,
            }
        )
    return pd.DataFrame(lines)


def _count(p_values: Sequence[float]) -> int:
    return sum(p == p for p in p_values)


def _t_and_p(d: Difference | None) -> str:
    return "–" if d is None or d.p != d.p else f"t = {d.t:.2f}, p {'< 0.001' if d.p < 0.001 else f'= {d.p:.3f}'}"


def _p_bounded(c: Claim) -> float:
    if c.difference is None or c.kind == "above":
        return math.nan
    if c.kind == "no worse":
        return Difference(-c.difference.mean, c.difference.standard_error, c.difference.df).p_below(c.margin)
    return c.difference.p_within(c.margin)


def _verdict(c: Claim, p: float, p_bound: float) -> tuple[str, str]:
    if c.difference is None or math.isnan(p):
        return UNDECIDED, ""
    detected = p < ALPHA
    if c.kind == "above":
        if c.difference.mean > 0:
            return (REPRODUCED if detected else UNDECIDED), ""
        # The worst of several parts is below 0 by chance more often than one is (Bonferroni).
        return (NOT_REPRODUCED if p * c.parts < ALPHA else UNDECIDED), ""
    if p_bound < ALPHA:
        return REPRODUCED, ""
    wrong = detected and (c.difference.mean < 0 or c.kind != "no worse")
    return (NOT_REPRODUCED if wrong else UNDECIDED), ""


def _seeds(c: Claim, family: int, bounded: int) -> str:
    """Seeds that would decide an undecided claim, if what we estimated is true, after Holm's strictest step."""
    if c.difference is None:
        return "no runs"
    if math.isnan(c.spread) or math.isnan(c.difference.mean):
        return "at least 2"
    d, alpha, within = c.difference.mean, ALPHA / family, ALPHA / max(1, bounded)
    ways = [(alpha / 2, [abs(d)])] if d < 0 or (d and c.kind != "no worse") else []  # a difference is detected
    if c.kind == "no worse":
        ways.append((within, [c.margin + d]))
    elif c.kind != "above":
        ways.append((within, [c.margin - d, c.margin + d]))
    needed = [seeds_to_decide(c.spread, far, a, c.other, c.one_more) for a, far in ways if min(far) > 0]
    possible = [n for n in needed if n]
    return f"about {min(possible)}" if possible else "no number of our seeds alone" if c.other else "more than 1000"


NOTE = (
    f"Accuracy in %, mean ± standard error. *Reproduced*: within {MARGIN} points of the published mean (two one-sided tests, "
    f"p_margin), or in the published order (p). *Not reproduced*: a difference is detected (p) that is not bounded so. "
    f"*Undecided*: neither; `seeds` would decide it with a chance of 80 % if our estimate is true. "
    f"p adjusted by Holm over each family, α = {ALPHA}. two_sample: Welch's test of the same difference, not adjusted; "
    f"the paper tested two samples, ours are paired by seed."
)


def as_markdown(table: pd.DataFrame) -> str:
    """The verdicts as people read them."""
    shown = table.assign(
        t=table.t.map("{:.2f}".format), p=table.p.map("{:.3f}".format), p_margin=table.p_margin.map("{:.3f}".format)
    ).replace("nan", "–")
    return shown.to_markdown(index=False, disable_numparse=True)
