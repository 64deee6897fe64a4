"""Means, standard errors and tests, by scipy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

POWER = 0.8  # with which the seeds that a verdict asks for would decide
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Sample:
    """A sample by its mean, standard error (ddof 1) and size."""

    mean: float
    standard_error: float
    n: int

    @classmethod
    def from_values(cls, values: Sequence[float]) -> "Sample":
        n = len(values)
        if not n:
            return cls(math.nan, math.nan, 0)
        return cls(float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else math.nan, n)

    def __str__(self) -> str:
        if self.n == 0:
            return "–"
        return plus_minus(self.mean, self.standard_error) if self.n > 1 else f"{self.mean:.2f} (n = {self.n})"


@dataclass(frozen=True)
class Difference:
    """An estimated difference, its standard error and degrees of freedom."""

    mean: float
    standard_error: float
    df: float

    @property
    def t(self) -> float:
        """Student's t; nan without degrees of freedom, or where there is a difference and no scatter."""
        if self.df != self.df:
            return math.nan
        if not self.standard_error:  # a few equal values say nothing about how far others scatter
            return 0.0 if not self.mean else math.nan
        return self.mean / self.standard_error

    @property
    def p(self) -> float:
        """Two-sided, of no difference."""
        return float(2 * stats.t.sf(abs(self.t), self.df)) if self.df == self.df else math.nan

    def half_width(self, level: float = 0.95) -> float:
        """Half the width of the two-sided interval at a level; nan without degrees of freedom."""
        return float(stats.t.ppf((1 + level) / 2, self.df)) * self.standard_error if self.df == self.df else math.nan

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided, at a level."""
        half = self.half_width(level)
        return self.mean - half, self.mean + half

    def p_below(self, limit: float) -> float:
        """One-sided p of 'not below limit'."""
        shifted = Difference(self.mean - limit, self.standard_error, self.df)
        return float(stats.t.cdf(shifted.t, self.df)) if self.df == self.df else math.nan

    def p_above(self, limit: float) -> float:
        """One-sided p of 'not above limit'."""
        return Difference(-self.mean, self.standard_error, self.df).p_below(-limit)

    def p_within(self, margin: float) -> float:
        """p of two one-sided tests of 'not within ± margin' (Schuirmann 1987)."""
        return max(self.p_below(margin), self.p_above(-margin))

    def __str__(self) -> str:
        return self.show("+.2f", ".2f")

    def show(self, digits: str, error_digits: str) -> str:
        """The difference with its standard error, by these formats."""
        return plus_minus(self.mean, self.standard_error, digits, error_digits)


def plus_minus(mean: float, error: float, digits: str = ".2f", error_digits: str | None = None) -> str:
    """A mean with its standard error, as people read them; a dash for a mean that is not known."""
    if mean != mean:
        return "–"
    return f"{mean:{digits}}" + (f" ± {error:{error_digits or digits}}" if error == error else "")


def show_p(p: float) -> str:
    """A p value as people write it; never as 0."""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def round_p(p: float) -> float:
    """A p value as files keep it: to four significant digits, so that none becomes 0."""
    return float(f"{p:.4g}")


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
    sample = Sample.from_values(differences)
    return Difference(sample.mean, sample.standard_error, sample.n - 1 if sample.n > 1 else math.nan)


def difference_from_printed(ours: Sample, printed: float, repetitions: int) -> Difference:
    """Ours minus a printed mean, for the question whether so many of our networks could have given that mean.

    The spread of a network is ours: the print's own is of three networks or fewer, so it is known to a factor of two at best.
    The standard error narrows with our seeds to that of the printed repetitions alone.

    Args:
        ours: The sample whose spread counts.
        printed: The mean that is printed.
        repetitions: Of how many networks it is.
    """
    spread = ours.standard_error * math.sqrt(ours.n)
    df = ours.n - 1 if ours.n > 1 else math.nan
    return Difference(ours.mean - printed, spread * math.sqrt(1 / repetitions + 1 / ours.n), df)


def seeds_to_decide(spread: float, distances: Sequence[float], alpha: float) -> int | None:
    """Seeds with which one-sided tests at alpha all pass with a chance of POWER; None if more than MOST_SEEDS.

    Args:
        spread: Standard deviation over seeds of what is averaged.
        distances: What each test must tell from nothing, above 0: one, or two for an equivalence.
        alpha: Of each test.
    """
    n = np.arange(2, MOST_SEEDS + 1)
    error = spread / np.sqrt(n)
    missed = sum(stats.t.sf(d / error - stats.t.ppf(1 - alpha, n - 1), n - 1) for d in distances)
    enough = 1 - missed >= POWER
    return int(n[enough.argmax()]) if enough.any() else None


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted: of all below 5 %, at most 5 % are so by chance, on average (Benjamini & Hochberg 1995); nan is not counted."""
    p = np.array(p_values, dtype=float)
    tested = ~np.isnan(p)
    if tested.any():
        p[tested] = stats.false_discovery_control(p[tested])
    return p.tolist()


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment over a family (Holm 1979); nan stays nan and is not counted."""
    p = np.array(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    p[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return p.tolist()
