"""Pack runs into cohorts: as few programs as keep all slots of the cluster busy."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from presyn import Run

LEAST_SECONDS = 30.0  # work below which a cohort of its own costs more in start-up than it gains
MOST_ON_CPU = 8  # members; more gain nothing on a core
MOST_ON_GPU = 256


@dataclass(frozen=True)
class Member:
    """A run to train, and where it stands.

    Attributes:
        run_id: The run's id.
        run: The run.
        checkpoint: The file from which it goes on; None to start afresh.
        segments: How many it has behind it.
    """

    run_id: str
    run: Run
    checkpoint: Any = None
    segments: int = 0


@dataclass(frozen=True)
class Size:
    """What a run takes.

    Attributes:
        seconds: How long it takes alone, on a core of the driver.
        segments: How many segments it has.
        steps: How many training steps it has.
        memory: Bytes that it needs on a GPU.
    """

    seconds: float
    segments: int = 1
    steps: int = 1
    memory: int = 1


def pack(members: Sequence[Member], seconds: Callable[[Run], float], slots: int, most: int) -> list[list[Member]]:
    """Cohorts of members that share their shape and the segments behind them, the longest cohort first.

    Args:
        members: What to train.
        seconds: How long a run takes.
        slots: Cohorts that can train at the same time.
        most: Members that a cohort may have.
    """
    groups: Mapping[tuple, list[Member]] = defaultdict(list)
    for m in members:
        groups[m.run.shape(), m.segments].append(m)
    cohorts = []
    for group in groups.values():
        size = cohort_size(len(group), seconds(group[0].run), slots, most)
        cohorts += [group[i : i + size] for i in range(0, len(group), size)]
    return sorted(cohorts, key=lambda cohort: -len(cohort) * seconds(cohort[0].run))


def cohort_size(count: int, seconds: float, slots: int, most: int) -> int:
    """Members of each of the cohorts into which runs of one shape are cut.

    Args:
        count: How many runs there are.
        seconds: How long each takes.
        slots: Cohorts that can train at the same time.
        most: Members that a cohort may have.
    """
    # Enough cohorts to fill the slots, but none too small to be worth starting, and none too large.
    worth_starting = min(slots, math.ceil(count * seconds / LEAST_SECONDS))
    cohorts = max(1, worth_starting, math.ceil(count / most))
    if cohorts > slots:  # as many for each slot, so that none idles while others train a last one
        cohorts = math.ceil(cohorts / slots) * slots
    return math.ceil(count / cohorts)
