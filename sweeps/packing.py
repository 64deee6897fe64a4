"""Pack runs into cohorts: as few programs as keep all slots of the cluster busy."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from presyn import Run

LEAST_SECONDS = 30.0  # work below which a cohort of its own costs more in start-up than it gains
MOST_ON_CPU = 8  # members; more gain nothing on a core
MOST_ON_GPU = 256


@dataclass(frozen=True)
class Member:
    """A run to train, and where it stands: its checkpoint, or None to start afresh."""

    run_id: str
    run: Run
    checkpoint: Path | None = None
    parts: int = 0


@dataclass(frozen=True)
class Size:
    """What a run takes.

    Attributes:
        seconds: How long it takes alone, on a core of the driver.
        parts: How many it has.
        steps: Training steps.
        memory: Bytes on a GPU.
    """

    seconds: float
    parts: int = 1
    steps: int = 1
    memory: int = 1


def pack(members: Sequence[Member], seconds: Callable[[Run], float], slots: int, most: int) -> list[list[Member]]:
    """Cohorts of members that share shape and resume_run, the longest first.

    Args:
        members: What to train.
        seconds: How long a run takes.
        slots: Cohorts that can train at the same time.
        most: Members that a cohort may have.
    """
    groups: Mapping[tuple, list[Member]] = defaultdict(list)
    for m in members:
        groups[m.run.shape(), m.parts].append(m)
    cohorts = []
    for group in groups.values():
        size = cohort_size(len(group), seconds(group[0].run), slots, most)
        cohorts += [group[i : i + size] for i in range(0, len(group), size)]
    return sorted(cohorts, key=lambda c: -len(c) * seconds(c[0].run))


def cohort_size(count: int, seconds: float, slots: int, most: int) -> int:
    """Members of each of the cohorts that runs of one shape are cut into.

    Args:
        count: Runs.
        seconds: How long each takes.
        slots: Cohorts that can train at the same time.
        most: Members that a cohort may have.
    """
    # Enough cohorts to fill the slots, but none too small to be worth starting, and none too large.
    worth = min(slots, math.ceil(count * seconds / LEAST_SECONDS))
    number = max(1, worth, math.ceil(count / most))
    if number > slots:  # as many for each slot, so that none idles while others train a last one
        number = math.ceil(number / slots) * slots
    return math.ceil(count / number)
