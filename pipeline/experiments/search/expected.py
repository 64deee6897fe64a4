"""What a winner can be expected to come to on new seeds: the best of many noisy values is too good."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import CategoricalDistribution

from sweeps.space import Space

LEAST_TRIALS = 8
"""Finished trials, below which nothing is estimated."""
REPEATS = 4000


@dataclass(frozen=True)
class Expected:
    """An estimate of what a winner comes to on new seeds.

    Attributes:
        value: Its expected objective.
        optimism: By how much the winner's own value is better than that.
        noise: The standard deviation of a trial's value over seeds.
        source: Where the noise comes from.
    """

    value: float
    optimism: float
    noise: float
    source: str


def expected_on_new_seeds(
    space: Space, params: Sequence[Mapping[str, object]], values: Sequence[Sequence[float]]
) -> Expected | None:
    """The estimate by a parametric bootstrap: trials that are truly as good as their shrunken values are searched many times.

    The noise is that between the seeds of a trial, where it has several; else what a random forest over the parameters leaves
    unexplained out of its bag, which is noise and misfit, so that the estimate is cautious. None of too few trials.

    Args:
        space: What was searched.
        params: Of the trials that finished.
        values: The objective of each of them, one for each seed.
    """
    if len(values) < LEAST_TRIALS:
        return None
    table = np.array(values, dtype=float)
    sign, means = (1.0 if space.direction == "maximize" else -1.0), table.mean(axis=1)
    if space.seeds > 1:
        noise = math.sqrt(float(table.var(axis=1, ddof=1).mean()) / space.seeds)
        source = f"the {space.seeds} seeds of each trial"
    else:
        noise = _unexplained(space, params, means)
        source = "what a random forest over the parameters leaves unexplained, at most"
    spread = float(means.var(ddof=1))
    kept = max(0.0, 1 - noise**2 / spread) if spread else 0.0
    truth = means.mean() + kept * (means - means.mean())
    drawn = truth + noise * np.random.default_rng(2021).standard_normal((REPEATS, len(truth)))
    winners = (sign * drawn).argmax(axis=1)
    optimism = float((sign * (drawn[np.arange(REPEATS), winners] - truth[winners])).mean())
    best = sign * float((sign * means).max())
    return Expected(best - sign * optimism, optimism, noise, source)


def _unexplained(space: Space, params: Sequence[Mapping[str, object]], values: np.ndarray) -> float:
    """The standard deviation of values around what a random forest predicts from the other trials."""
    from sklearn.ensemble import RandomForestRegressor  # takes a second

    x = np.array([[_as_number(space, name, p[name]) for name in space.search] for p in params])
    forest = RandomForestRegressor(200, oob_score=True, random_state=0).fit(x, values)
    return float(np.sqrt(np.mean((forest.oob_prediction_ - values) ** 2)))


def _as_number(space: Space, name: str, value: object) -> float:
    distribution = space.search[name]
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.to_internal_repr(value))  # type: ignore[arg-type]
    return math.log(value) if distribution.log else float(value)  # type: ignore[attr-defined, arg-type]
