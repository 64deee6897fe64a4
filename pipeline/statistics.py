"""Means, standard errors and tests, by scipy and statsmodels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

POWER = 0.8  # with which the seeds that a verdict asks for would decide
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Sample:
    """A sample by its mean, standard error (ddof 1) and size."""

    mean: float
    standard_error: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Sample":
        n = len(values)
        return cls(float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else math.nan, n)

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.standard_error:.2f}" if self.n > 1 else f"{self.mean:.2f} (n = {self.n})"


@dataclass(frozen=True)
class Difference:
    """An estimated difference, its standard error and degrees of freedom."""

    mean: float
    standard_error: float
    df: float

    @property
    def t(self) -> float:
        if not self.standard_error:  # no scatter at all, as in tiny demonstrations
            return 0.0 if not self.mean else math.copysign(math.inf, self.mean)
        return self.mean / self.standard_error

    @property
    def p(self) -> float:
        """Two-sided, of no difference."""
        return float(2 * stats.t.sf(abs(self.t), self.df)) if self.df == self.df else math.nan

    def p_below(self, limit: float) -> float:
        """One-sided p of 'not below limit'."""
        return Difference(self.mean - limit, self.standard_error, self.df)._lower()

    def p_within(self, margin: float) -> float:
        """p of two one-sided tests of 'not within ± margin' (Schuirmann 1987)."""
        return max(self.p_below(margin), Difference(-self.mean, self.standard_error, self.df).p_below(margin))

    def _lower(self) -> float:
        return float(stats.t.cdf(self.t, self.df)) if self.df == self.df else math.nan

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ± {self.standard_error:.2f}"


def unpaired(a: Sample, b: Sample) -> Difference:
    """a − b of two samples, by Welch; nan for samples of one."""
    if min(a.n, b.n) < 2:
        return Difference(a.mean - b.mean, math.nan, math.nan)
    va, vb = a.standard_error**2, b.standard_error**2
    if not va + vb:
        return Difference(a.mean - b.mean, 0.0, a.n + b.n - 2)
    df = (va + vb) ** 2 / (va**2 / (a.n - 1) + vb**2 / (b.n - 1))
    return Difference(a.mean - b.mean, math.sqrt(va + vb), df)


def paired(differences: Sequence[float]) -> Difference:
    """The mean of differences of pairs, such as of the same seeds."""
    s = Sample.of(differences)
    return Difference(s.mean, s.standard_error, s.n - 1 if s.n > 1 else math.nan)


def welch(a: Sample, b: Sample) -> tuple[float, float]:
    """Welch's t test of two means: (t, two-sided p); nan for samples of one."""
    d = unpaired(a, b)
    return (d.t, d.p) if d.df == d.df else (math.nan, math.nan)


def seeds_to_decide(spread: float, effect: float, alpha: float, known_error: float = 0.0) -> int | None:
    """Seeds with which a one-sided test at alpha finds an effect with a chance of POWER; None if more than MOST_SEEDS.

    Args:
        spread: Standard deviation over seeds of what is averaged.
        effect: Distance that must be told from nothing, above 0.
        known_error: A standard error that more seeds of ours do not shrink, such as a published one.
    """
    n = np.arange(2, MOST_SEEDS + 1)
    error = np.hypot(spread / np.sqrt(n), known_error)
    enough = effect >= error * (stats.t.ppf(1 - alpha, n - 1) + stats.t.ppf(POWER, n - 1))
    return int(n[enough.argmax()]) if enough.any() else None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment over a family; nan stays nan and is not counted."""
    known = [p for p in p_values if p == p]
    adjusted = iter(multipletests(known, method="holm")[1]) if known else iter(())
    return [float(next(adjusted)) if p == p else p for p in p_values]
