"""What training a run gave."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from presyn.errors import PresynError
from presyn.inputs import ARITHMETICS

LATEST = 1e11
"""Seconds of unix time, or of a segment, that no run reaches."""
STATUSES = ("training", "finished", "dropped", "diverged")
TAKEN = (
    "method", "benchmark", "seed", "mean_accuracy", "forgetting", "run_id", "git_commit", "git_dirty", "rules_version",
    "data_sha256", "torch", "host", "device", "code", "processor", "config", "series", "digest", "stage", "trial", "parameters",
    "ablation",
)  # fmt: skip
"""Names that rows of results use besides those of a record, under which a method describes no figure."""


@dataclass
class Record:
    """What training a run has given so far.

    Attributes:
        status: `training`, `finished`, `dropped` or `diverged`.
        reason: Why it was dropped or diverged.
        accuracy: accuracy[i][j] on task j after training task i, None where not tested; one row for joint.
        loss: Mean training loss in the last epoch of each segment.
        figures: What the method describes, such as mean_p and frozen, and what was measured: one value for each segment, a
            number or a list of numbers. What is measured only at the end has one value.
        seconds: How long each segment took by a clock that is never set, this run's share of its cohort's.
        ended: Unix time at which each segment ended, to be shown and not computed with: clocks are set back.
        arithmetic: How the first layer multiplied (see `presyn.inputs`): dense, lit, or both with a comma, where a run went on
            with the other one. Empty for patterns, and for what earlier versions trained, which was dense.
    """

    status: str = "training"
    reason: str = ""
    accuracy: list[list[float | None]] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    figures: dict[str, list[Any]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    arithmetic: str = ""

    def add_arithmetic(self, name: str) -> None:
        """Say how the first layer multiplied in one more segment, which `ended` has already."""
        before = self.arithmetic or ("dense" if self.segments > 1 else name)
        if name and name not in before.split(", "):
            before += f", {name}"
        self.arithmetic = before if name else ""

    @property
    def segments(self) -> int:
        """Finished segments."""
        return len(self.ended)

    @property
    def mean_accuracy(self) -> float | None:
        """The unweighted mean over tasks of the accuracy after the last task; None for a run that did not finish."""
        return float(np.mean(self.accuracy[-1])) if self._is_tested() else None  # type: ignore[arg-type]

    @property
    def forgetting(self) -> float | None:
        """Mean over all tasks but the last of the best accuracy on it before the end, minus the last one.

        Chaudhry et al. (2018), Riemannian Walk, section 4.1. None for a single task, for joint training, and for a
        run that did not finish.
        """
        if not self._is_tested() or len(self.accuracy) < 2:
            return None
        table = np.array(self.accuracy, dtype=float)
        return float(np.mean(np.nanmax(table[:-1, :-1], axis=0) - table[-1, :-1]))

    def _is_tested(self) -> bool:
        """Whether it is one of a run that finished, with which all tasks are tested."""
        return self.status == "finished" and bool(self.accuracy and self.accuracy[-1]) and None not in self.accuracy[-1]

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {**asdict(self), "mean_accuracy": self.mean_accuracy, "forgetting": self.forgetting}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Record":
        """The inverse of `as_dict`; shares nothing with the values.

        Raises:
            PresynError: they are no mapping.
        """
        if not isinstance(values, Mapping):
            raise PresynError(f"A record is made of its fields and their values, not of {values!r}.")
        return cls(**{k: copy.deepcopy(v) for k, v in values.items() if k in cls.__dataclass_fields__})

    @classmethod
    def is_whole(cls, values: Mapping[str, Any]) -> bool:
        """Whether values have all fields that a record has had since the first version."""
        return cls.__dataclass_fields__.keys() - {"arithmetic"} <= values.keys()

    def check(self) -> None:
        """Check that it holds what training can give, as of a record that was read back.

        Raises:
            ValueError: it does not; in words that fit after "it is not a record".
        """
        if not isinstance(self.arithmetic, str) or not {*filter(None, self.arithmetic.split(", "))} <= {*ARITHMETICS}:
            raise ValueError(f"its arithmetic is not {' or '.join(ARITHMETICS)}")
        if self.status not in STATUSES or not isinstance(self.reason, str):
            raise ValueError(f"its status is not one of {', '.join(STATUSES)}, or its reason is no text")
        figures = list(self.figures.values()) if isinstance(self.figures, dict) else [None]
        series = (self.accuracy, self.loss, self.seconds, self.ended, *figures)
        if not all(isinstance(values, list) for values in (*series, *self.accuracy)):
            raise ValueError("its series are not lists")
        if any(a is not None and not (_is_number(a) and 0 <= a <= 1) for tested in self.accuracy for a in tested):
            raise ValueError("its accuracies are not from 0 to 1")
        if not len(self.loss) == len(self.seconds) == len(self.ended) >= len(self.accuracy):
            raise ValueError("its series are not as long as each other")
        if not all(map(_is_number, self.loss)) or not all(
            _is_number(t) and math.isfinite(t) for t in (*self.seconds, *self.ended)
        ):
            raise ValueError("its loss or times are not numbers that they can be")
        if min(self.seconds, default=0) < 0 or max(map(abs, (*self.seconds, *self.ended)), default=0) >= LATEST:
            raise ValueError("its times are not those of a clock")
        if any(not 1 <= len(v) <= self.segments or not _are_numbers(v) for v in figures):
            raise ValueError("its figures are not series over its segments")
        if self.status == "finished" and (not self.accuracy or not self.accuracy[-1] or None in self.accuracy[-1]):
            raise ValueError("its accuracies are not those of a run that finished")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(values: list[Any]) -> bool:
    """Whether these are numbers, or lists of them."""
    return all(_are_numbers(v) if isinstance(v, list) else _is_number(v) for v in values)
