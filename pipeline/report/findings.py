"""What was found on a claim: effects over seeds, put together so that `pipeline.report.verdicts` can decide them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from pipeline.report.statistics import Difference, Sample, paired, unpaired
from pipeline.report.verdicts import Claim

Values: TypeAlias = Any
"""A number for each seed: a sequence, an array or a series of pandas."""
Evidence: TypeAlias = Mapping[str, pd.DataFrame]
"""Name of a stage -> its committed summary; a stage whose rows are not there is missing."""


@dataclass(frozen=True)
class Finding:
    """What was found on a claim, or on one part or reading of it.

    Attributes:
        id: The claim's.
        claim: In words, what is compared.
        ours: What came out, in words.
        effect: That which decides; None without rows.
        kind: above, for an order; mean, for a printed value.
        margin: Within which a printed value counts as the same.
        interval: Of the effect, 95 %, in its own unit.
        test: By name.
        spread: Standard deviation over seeds, for the seeds that would decide.
        other: A published sample.
        published: What is printed; by default as the claim's list says.
        reading: Which of several ways to read the claim; empty for the one that decides.
        parts, one_more: As of a `Claim`.
    """

    id: str
    claim: str
    ours: str
    effect: Difference | None
    kind: str = "above"
    margin: float = math.nan
    interval: str = ""
    test: str = "paired t"
    spread: float = math.nan
    other: Sample | None = None
    published: str = ""
    reading: str = ""
    parts: int = 1
    one_more: bool = False

    def as_claim(self, family: str, published: str) -> Claim:
        """As the verdicts take it."""
        return Claim(
            family, self.claim, self.published or published, self.ours, self.test, self.kind, self.effect, self.spread,
            self.other, id=self.id, reading=self.reading, margin=self.margin, interval=self.interval,
            parts=self.parts, one_more=self.one_more,
        )  # fmt: skip


def _known(values: Values) -> list[float]:
    return [float(v) for v in values if v == v]


def above(id: str, claim: str, parts: Mapping[str, Values], unit: str = "", test: str = "paired t", **more: Any) -> Finding:
    """An order that holds if it holds in every part: differences over seeds, each to be above 0.

    The part that holds least decides, by its one-sided p: an intersection-union test, which keeps the error rate of
    "reproduced" (Berger 1982).

    Args:
        id: The claim's.
        claim: In words.
        parts: What is compared -> a difference for each seed; a log ratio where the unit is "ratio".
        unit: ratio, z (Fisher's, shown as r), or that of the values.
        test: By name.
        more: Of the finding.
    """
    found = {name: paired(_known(values)) for name, values in parts.items() if len(_known(values))}
    if len(found) < len(parts) or not found:
        return Finding(id, claim, "–", None, test=test, **more)
    weakest = max(found, key=lambda name: _against(found[name]))
    if len(found) <= 3:
        words = "; ".join(f"{name} {shown(d, unit)}".strip() for name, d in found.items())
    else:
        holding = sum(d.mean > 0 for d in found.values())
        words = f"{holding} of {len(found)} in this order; weakest: {weakest} {shown(found[weakest], unit)}"
    own = _known(parts[weakest])
    spread = float(np.std(own, ddof=1)) if len(own) > 1 else math.nan
    return Finding(
        id, claim, f"{words} (n = {len(own)})", found[weakest], test=test, spread=spread,
        interval=shown(found[weakest], unit), parts=len(found), **more,
    )  # fmt: skip


def _against(d: Difference) -> float:
    """One-sided p of "not above 0"; 1 where there is no scatter to tell by."""
    p = Difference(-d.mean, d.standard_error, d.df).p_below(0.0)
    return 1.0 if p != p else p


def value(id: str, claim: str, values: Values, printed: float | Sample, margin: float, unit: str = "", **more: Any) -> Finding:
    """A printed value: of one network, which another network of ours should be like; or a mean with its uncertainty.

    Args:
        id: The claim's.
        claim: In words.
        values: One for each seed; Fisher's z where the unit is z.
        printed: In the same unit.
        margin: Within which it counts as the same.
        unit: As in `above`.
        more: Of the finding.
    """
    known = _known(values)
    if not known:
        return Finding(id, claim, "–", None, "mean", margin, test="t", **more)
    ours = Sample.of(known)
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
    if isinstance(printed, Sample):
        effect, test, other = unpaired(ours, printed), "Welch", printed
    else:  # what a single further network may differ by
        error = spread * math.sqrt(1 + 1 / len(known)) if len(known) > 1 else math.nan
        effect = Difference(ours.mean - printed, error, len(known) - 1 if len(known) > 1 else math.nan)
        test, other = "t of one more network", None
    mean = Difference(ours.mean, ours.standard_error, len(known) - 1 if len(known) > 1 else math.nan)
    words = f"{shown(mean, unit)} (n = {len(known)})"
    return Finding(
        id,
        claim,
        words,
        effect,
        "mean",
        margin,
        shown(effect, "" if unit == "z" else unit),
        test,
        spread,
        other,
        one_more=not isinstance(printed, Sample),
        **more,
    )


def shown(d: Difference, unit: str = "") -> str:
    """An estimate with its 95 % interval, in its own unit."""
    low, high = d.interval
    if unit == "ratio":
        numbers = [math.exp(min(v, 700.0)) if v == v else v for v in (d.mean, low, high)]
        return f"× {numbers[0]:.3g}" + (f" [{numbers[1]:.3g}, {numbers[2]:.3g}]" if low == low else "")
    numbers = [math.tanh(v) if unit == "z" else v for v in (d.mean, low, high)]
    return f"{numbers[0]:.4g}" + (f" [{numbers[1]:.4g}, {numbers[2]:.4g}]" if low == low else "")


def z_of(r: Values) -> np.ndarray:
    """Fisher's z of correlations."""
    return np.arctanh(np.clip(np.array(r, dtype=float), -0.999999, 0.999999))
