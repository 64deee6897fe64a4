"""A number for each seed, together with the runs that it was computed from, so that a verdict can say what it rests on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from presyn import PresynError

Runs = Mapping[int, frozenset[str]]
"""Seed -> ids of runs."""


@dataclass(frozen=True, eq=False)
class BySeed:
    """A number for each seed.

    Attributes:
        values: Indexed by seed; nan where a run was lost.
        runs: The runs behind each of them.
    """

    values: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    runs: Runs = field(default_factory=dict)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, column: str) -> "BySeed":
        """A column of a frame that has one line for each seed, with the columns seed and run_id.

        Raises:
            PresynError: a seed is there twice, which would count as two networks.
        """
        if frame.seed.duplicated().any():
            repeated = frame[frame.seed.duplicated(keep=False)]
            raise PresynError(
                f"Seed {repeated.seed.iloc[0]} is there twice, with runs {' and '.join(map(str, repeated.run_id[:2]))}, where "
                "a claim counts a seed once. Delete the line of one of them."
            )
        runs = {int(seed): frozenset([str(run_id)]) for seed, run_id in zip(frame.seed, frame.run_id, strict=True)}
        return cls(frame.set_index("seed")[column].astype(float).sort_index(), runs)

    @property
    def finished(self) -> list[float]:
        """The numbers of the seeds whose runs were not lost."""
        return [float(v) for v in self.values.dropna()]

    @property
    def lost(self) -> int:
        """Seeds whose run was lost."""
        return int(self.values.isna().sum())

    @property
    def run_ids(self) -> tuple[str, ...]:
        """All runs behind the numbers, sorted."""
        return tuple(sorted(set().union(*self.runs.values()))) if self.runs else ()

    def _with(self, other: "BySeed", function: Callable[[pd.Series, pd.Series], pd.Series]) -> "BySeed":
        seeds = [seed for seed in self.values.index if seed in other.values.index]
        runs = {seed: self.runs.get(seed, frozenset()) | other.runs.get(seed, frozenset()) for seed in seeds}
        return BySeed(function(self.values.loc[seeds], other.values.loc[seeds]), runs)

    def __sub__(self, other: "BySeed | float") -> "BySeed":
        """The difference over the seeds of both."""
        if isinstance(other, BySeed):
            return self._with(other, lambda a, b: a - b)
        return BySeed(self.values - other, self.runs)

    def __rsub__(self, other: float) -> "BySeed":
        return BySeed(other - self.values, self.runs)

    def log_ratio(self, other: "BySeed") -> "BySeed":
        """The logarithm of this over another, over the seeds of both."""
        return self._with(other, lambda a, b: np.log(a / b))

    def map(self, function: Callable[[Any], Any]) -> "BySeed":
        """A function of the numbers, which takes and gives an array."""
        return BySeed(pd.Series(function(self.values.to_numpy(dtype=float)), self.values.index, dtype=float), self.runs)

    def in_points(self) -> "BySeed":
        """Accuracies between 0 and 1, or their differences, in points: 100 times as large."""
        return self.map(lambda shares: 100 * shares)

    def fisher_z(self) -> "BySeed":
        """Fisher's z of correlations."""
        return self.map(fisher_z)


def with_lost(summary: pd.DataFrame, rows: pd.DataFrame, labels: Sequence[str], keys: Sequence[str] = ()) -> pd.DataFrame:
    """A summary of the runs that finished, with lines of nan for those that were lost, so that a verdict can count them.

    Args:
        summary: Some lines for each run that finished.
        rows: The rows that it was made of.
        labels: Columns of both that tell the runs apart.
        keys: Columns of the summary that tell the lines of a run apart.
    """
    lost = rows.loc[rows.status != "finished", [*labels, "run_id"]]
    if lost.empty or (keys and summary.empty):
        return summary
    lines = lost.merge(summary[list(keys)].drop_duplicates(), how="cross") if keys else lost
    return pd.concat([summary, lines], ignore_index=True)


def fisher_z(r: Any) -> Any:
    """Fisher's z of correlations."""
    return np.arctanh(np.clip(np.asarray(r, dtype=float), -0.999999, 0.999999))


def mean_over(parts: Iterable[BySeed]) -> BySeed:
    """The mean of several numbers for each seed that all of them have; nan where a run was lost."""
    parts = list(parts)
    values = pd.concat([part.values for part in parts], axis=1, join="inner").mean(axis=1, skipna=False)
    runs = {int(seed): frozenset().union(*(part.runs.get(seed, frozenset()) for part in parts)) for seed in values.index}
    return BySeed(values, runs)
