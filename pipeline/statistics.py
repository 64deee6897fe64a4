"""Means, standard errors and tests, by scipy and statsmodels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests


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


def welch(a: Sample, b: Sample) -> tuple[float, float]:
    """Welch's t test of two means: (t, two-sided p); nan for samples of one."""
    if min(a.n, b.n) < 2:
        return math.nan, math.nan
    if a.standard_error == b.standard_error == 0:  # no scatter at all, as in tiny demonstrations
        return (0.0, 1.0) if a.mean == b.mean else (math.inf, 0.0)
    spread = [s.standard_error * math.sqrt(s.n) for s in (a, b)]
    t, p = stats.ttest_ind_from_stats(a.mean, spread[0], a.n, b.mean, spread[1], b.n, equal_var=False)
    return float(t), float(p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment over a family; nan stays nan and is not counted."""
    known = [p for p in p_values if p == p]
    adjusted = iter(multipletests(known, method="holm")[1]) if known else iter(())
    return [float(next(adjusted)) if p == p else p for p in p_values]
