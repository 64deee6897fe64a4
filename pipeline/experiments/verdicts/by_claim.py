"""One verdict on each claim of the paper, of the verdicts on its parts and readings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.experiments.table1.claims import BESIDE_AUTHORS
from pipeline.paper.published import Claim
from pipeline.report.statistics import round_p
from pipeline.report.tables import markdown_table
from pipeline.report.verdicts import (
    NOT_REPRODUCED,
    NOT_TESTED,
    REPRODUCED,
    UNDECIDED,
    VERDICTS,
    Verdict,
    show_effect,
    show_ours,
)


@dataclass(frozen=True)
class ClaimVerdict:
    """What is said of a claim as a whole.

    Attributes:
        claim: Of the paper.
        verdict: Of all its parts together.
        old_verdict: The same by the former rule, of the same comparisons.
        parts: The verdicts that decide it.
        readings: Verdicts on other ways to read it, which decide nothing.
        fits_print: Of printed values and several readings, the reading whose values lie nearest to them; else empty.
        note: What it rests on that is not reproduced, or what is missing.
    """

    claim: Claim
    verdict: str
    old_verdict: str
    parts: tuple[Verdict, ...]
    readings: tuple[Verdict, ...]
    fits_print: str
    note: str

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs behind the parts that decide it."""
        return tuple(sorted({run_id for part in self.parts for run_id in part.run_ids}))

    @property
    def p(self) -> float:
        """The p value of the order or likeness that holds least; of printed values alone, that of the one most unlike ours."""
        orders = [v.p for v in self.parts if v.kind != "mean" and v.p == v.p]
        values = [v.p for v in self.parts if v.kind == "mean" and v.p == v.p]
        return max(orders) if orders else min(values, default=math.nan)

    @property
    def shown(self) -> Verdict | None:
        """The first part with the claim's verdict, whose effect stands for it; None without one."""
        if not self.parts or self.parts[0].difference is None:
            return None
        return next((part for part in self.parts if part.verdict == self.verdict), self.parts[0])

    @property
    def brief(self) -> str:
        """What decides it, in a few words: the effect of the first part with its verdict, and how many parts there are."""
        first = self.shown
        if first is None:
            return "–"
        effect = show_ours(first) if first.unit == "%" else show_effect(first)
        return effect + (f", and {len(self.parts) - 1} more" if len(self.parts) > 1 else "")

    @property
    def seeds(self) -> str:
        """Seeds that would decide its undecided parts."""
        return "; ".join(part.seeds for part in self.parts if part.seeds and part.verdict == UNDECIDED)

    def by_reading(self) -> dict[str, str]:
        """Reading -> the verdict on it."""
        names = dict.fromkeys(v.reading for v in self.readings)
        return {name: all_together([v.verdict for v in self.readings if v.reading == name]) for name in names}


def all_together(verdicts: Sequence[str]) -> str:
    """The verdict on a claim of several parts, such as a value and a direction: it needs all of them."""
    for verdict in (NOT_REPRODUCED, NOT_TESTED, UNDECIDED):
        if verdict in verdicts:
            return verdict
    return REPRODUCED if verdicts else NOT_TESTED


def by_claim(verdicts: Sequence[Verdict], claims: Sequence[Claim]) -> list[ClaimVerdict]:
    """A verdict for each claim, in order."""
    parts = {c.id: tuple(v for v in verdicts if v.id == c.id and not v.reading) for c in claims}
    together = {id: all_together([v.verdict for v in deciding]) for id, deciding in parts.items()}
    return [
        ClaimVerdict(
            claim,
            together[claim.id],
            all_together([v.old_verdict for v in parts[claim.id]]),
            parts[claim.id],
            tuple(v for v in verdicts if v.id == claim.id and v.reading),
            _nearest_reading([v for v in verdicts if v.id == claim.id]),
            _note(claim, together),
        )
        for claim in claims
    ]


def _note(claim: Claim, together: Mapping[str, str]) -> str:
    missing = []
    if together[claim.id] == NOT_TESTED:
        missing = [
            f"it needs {claim.missing}"
            if claim.missing
            else f"its rows are not there, or not all of them: presyn reproduce {claim.stage}"
        ]
    if together[claim.id] == UNDECIDED and claim.settled_by:
        missing = [f"would be settled by {claim.settled_by}"]
    again = [f"its numbers are also those of {', '.join(claim.says_again)}"] if claim.says_again else []
    shaky = [f"{other} is {together[other]}" for other in claim.rests_on if together.get(other, REPRODUCED) != REPRODUCED]
    return "; ".join([*missing, *again, *shaky])


def _nearest_reading(verdicts: Sequence[Verdict]) -> str:
    distances: dict[str, list[float]] = {}
    for v in verdicts:
        if v.kind == "mean" and v.difference is not None and v.reading != BESIDE_AUTHORS:
            distances.setdefault(v.reading, []).append(abs(v.difference.mean))
    if len(distances) < 2:
        return ""
    means = {reading: sum(values) / len(values) for reading, values in distances.items()}
    return min(means, key=lambda reading: means[reading]) or "the one that decides"


def claim_table(claims: Sequence[ClaimVerdict]) -> pd.DataFrame:
    """A line for each claim: results/claims.csv."""
    lines = []
    for c in claims:
        lines.append(
            {
                "id": c.claim.id,
                "place": c.claim.place,
                "claim": c.claim.claim,
                "kind": c.claim.kind,
                "published": c.claim.published,
                "verdict": c.verdict,
                "old_verdict": c.old_verdict,
                "ours": "; ".join(f"{v.comparison}: {show_ours(v)}" for v in c.parts) or "–",
                "p": round_p(c.p),
                "seeds": c.seeds,
                "readings": "; ".join(f"{reading}: {verdict}" for reading, verdict in c.by_reading().items()),
                "fits_print": c.fits_print,
                "note": c.note,
            }
        )
    return pd.DataFrame(lines)


def count(claims: Sequence[ClaimVerdict]) -> dict[str, int]:
    """Verdict -> how many claims have it."""
    return {verdict: sum(c.verdict == verdict for c in claims) for verdict in VERDICTS}


def in_short(claims: Sequence[ClaimVerdict]) -> str:
    """How many claims have which verdict, as a sentence."""
    counts = ", ".join(f"{n} {verdict}" for verdict, n in count(claims).items())
    again = [c.claim.id for c in claims if c.claim.says_again and c.verdict != NOT_TESTED]
    of_these = f" Of these, {', '.join(again)} rest on numbers that decide others too." if again else ""
    return f"Of the paper's {len(claims)} claims: {counts}.{of_these}"


def changed_by_the_rule(claims: Sequence[ClaimVerdict]) -> list[str]:
    """Claims on which the former rule says otherwise, as "L4: undecided, now reproduced"."""
    return [f"{c.claim.id}: {c.old_verdict}, now {c.verdict}" for c in claims if c.old_verdict != c.verdict]


def claims_as_markdown(claims: Sequence[ClaimVerdict]) -> str:
    """The verdicts claim by claim, as people read them; claims.csv and the page have the rest."""
    lines = [
        {
            "claim": f"{c.claim.id}: {c.claim.claim}",
            "published": c.claim.published,
            "ours": c.brief,
            "verdict": c.verdict,
            "link": f"[{c.claim.id}](report/index.html#{c.claim.id})",
        }
        for c in claims
    ]
    return f"{in_short(claims)}\n\n{markdown_table(pd.DataFrame(lines), disable_numparse=True)}\n"
