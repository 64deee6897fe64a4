"""Successive halving over the tasks of a sequence: after some tasks, only the better trials of a round go on.

Jamieson & Talwalkar (2016), Non-stochastic best arm identification and hyperparameter optimization.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from presyn import Benchmark, PresynError
from presyn.options import reject_unknown

_EXAMPLE = "{after: [2, 5], keep: 0.5}"


@dataclass(frozen=True)
class Halving:
    """When trials are compared, and how many of them go on.

    Attributes:
        after: Numbers of tasks, rising.
        keep: The share of the compared trials that goes on, rounded up.
    """

    after: tuple[int, ...]
    keep: float = 0.5

    def identity(self) -> dict[str, Any]:
        """As plain values."""
        return {"after": list(self.after), "keep": self.keep}

    def check(self, benchmark: Benchmark, joint: bool) -> None:
        """Raise a PresynError where runs cannot be compared after some of their tasks."""
        if joint or benchmark.kind not in ("split", "permuted"):
            what = "joint training sees all tasks at once" if joint else f"a benchmark of kind {benchmark.kind} has none"
            raise PresynError(f"halving needs tasks that end one after the other, and {what}: leave it out.")
        if self.after[-1] >= benchmark.tasks:
            raise PresynError(
                f"after under halving must be below the {benchmark.tasks} tasks of {benchmark.name}, not {self.after[-1]}."
            )

    def survivors(self, values: Mapping[int, float | None], maximize: bool) -> list[int]:
        """Which trials go on, in their order.

        Args:
            values: Number of a trial -> its objective so far; None of one that was lost.
            maximize: Whether more is better.
        """
        finished = {number: value for number, value in values.items() if value is not None}
        best_first = sorted(finished, key=lambda number: (-finished[number] if maximize else finished[number], number))
        return sorted(best_first[: self.count(len(values))])

    def count(self, trials: int) -> int:
        """How many of so many trials go on: their share, rounded up."""
        return math.ceil(round(self.keep * trials, 9))  # 0.28 * 25 is a little more than 7


def parse_halving(value: Any) -> Halving:
    """What a file says under halving.

    Raises:
        PresynError: it is not what halving needs.
    """
    if not isinstance(value, dict) or not isinstance(value.get("after"), list | int) or isinstance(value["after"], bool):
        raise PresynError(f"halving must be like {_EXAMPLE}, not {value!r}.")
    reject_unknown(value, ["after", "keep"], "key of halving")
    after: Sequence[Any] = value["after"] if isinstance(value["after"], list) else [value["after"]]
    whole = bool(after) and all(type(tasks) is int and tasks >= 1 for tasks in after)
    if not whole or list(after) != sorted(set(after)):
        raise PresynError(f"after under halving must be rising numbers of tasks, as in {_EXAMPLE}, not {value['after']!r}.")
    keep = value.get("keep", 0.5)
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep < 1:
        raise PresynError(f"keep under halving must be a share between 0 and 1, not {keep!r}.")
    return Halving(tuple(after), float(keep))
