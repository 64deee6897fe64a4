"""What training a run gave."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass
class Record:
    """What training a run has given so far.

    Attributes:
        status: `training`, `finished`, `dropped` or `diverged`.
        reason: Why it was dropped or diverged.
        accuracy: accuracy[i][j] on task j after training task i, None where not tested; one row for joint.
        loss: Mean training loss in the last epoch of each segment.
        figures: What the method describes after each segment, such as mean_p and frozen, and what was measured: a number, or a
            list of them, for each segment; of what is measured at the end alone, one.
        seconds: Wall time of each segment, this run's share of its cohort's.
        ended: Unix time at which each segment ended.
    """

    status: str = "training"
    reason: str = ""
    accuracy: list[list[float | None]] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    figures: dict[str, list[Any]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    @property
    def segments(self) -> int:
        """Finished segments."""
        return len(self.ended)

    @property
    def mean_accuracy(self) -> float | None:
        """The unweighted mean over tasks of the accuracy after the last task; None for a run that did not finish."""
        return float(np.mean(self.accuracy[-1])) if self.status == "finished" else None  # type: ignore[arg-type]

    @property
    def forgetting(self) -> float | None:
        """Mean over all tasks but the last of the best accuracy on it before the end, minus the last one.

        Chaudhry et al. (2018), Riemannian Walk, section 4.1. None for a single task, for joint training, and for a
        run that did not finish.
        """
        if self.status != "finished" or len(self.accuracy) < 2:
            return None
        table = np.array(self.accuracy, dtype=float)
        return float(np.mean(np.nanmax(table[:-1, :-1], axis=0) - table[-1, :-1]))

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {**asdict(self), "mean_accuracy": self.mean_accuracy, "forgetting": self.forgetting}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Record":
        """The inverse of `as_dict`."""
        return cls(**{k: v for k, v in values.items() if k in cls.__dataclass_fields__})
