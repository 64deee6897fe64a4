"""What a winner can be expected to come to on new seeds: the best of many noisy values is too good."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeps.space import Space

LEAST_TRIALS = 8
"""Finished trials, below which nothing is estimated."""


@dataclass(frozen=True)
class Expected:
    """An estimate of what a winner comes to on new seeds.

    Attributes:
        value: Its expected objective.
        optimism: By how much the winner's own value is better than that.
        noise: The standard deviation of a trial's value, over choices of its seeds.
        source: Where the noise comes from.
    """

    value: float
    optimism: float
    noise: float
    source: str


def expected_on_new_seeds(
    space: Space, params: Sequence[Mapping[str, Any]], values: Sequence[Sequence[float]]
) -> Expected | None:
    """The mean of a Gaussian process over the parameters, given all trials, at the best of them; None of too few trials.

    What a neighbourhood of trials says of the winner counts beside its own value, the more the noisier values are. The noise is
    that between the seeds of a trial, where it has several; else it is fitted, as the length scales are, by maximum likelihood.

    Args:
        space: What was searched.
        params: Of the trials that finished.
        values: The objective of each of them, one for each seed.
    """
    if len(values) < LEAST_TRIALS:
        return None
    from sklearn.gaussian_process import GaussianProcessRegressor  # takes a second
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    table = np.array(values, dtype=float)
    means = table.mean(axis=1)
    center, scale = float(means.mean()), float(means.std()) or 1.0
    x = np.array([[_place(space, name, p[name]) for name in space.search] for p in params])
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(x.shape[1], 1.0), (0.2, 20.0), nu=2.5)
    known_noise = math.sqrt(float(table.var(axis=1, ddof=1).mean()) / space.seeds) if space.seeds > 1 else None
    alpha = 1e-10 if known_noise is None else max(1e-10, (known_noise / scale) ** 2)
    if known_noise is None:
        kernel = kernel + WhiteKernel(0.3, (1e-4, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a length scale is at its bound
        process = GaussianProcessRegressor(kernel, alpha=alpha, n_restarts_optimizer=2, random_state=0).fit(
            x, (means - center) / scale
        )
    sign = 1.0 if space.direction == "maximize" else -1.0
    best = int((sign * means).argmax())
    value = center + scale * float(process.predict(x[best : best + 1])[0])
    if known_noise is not None:
        return Expected(value, sign * (float(means[best]) - value), known_noise, f"the {space.seeds} seeds of each trial")
    noise = scale * math.sqrt(process.kernel_.k2.noise_level)
    return Expected(value, sign * (float(means[best]) - value), noise, "a Gaussian process over the parameters")


def _place(space: Space, name: str, value: Any) -> float:
    """Where a value lies in its range, from 0 to 1."""
    distribution: Any = space.search[name]
    if hasattr(distribution, "choices"):
        return distribution.to_internal_repr(value) / max(1, len(distribution.choices) - 1)
    low, high = distribution.low, distribution.high
    if distribution.log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low) if high > low else 0.0
