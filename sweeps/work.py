"""The work of a stage: which runs wait, who trains which, and what a worker that asks is given.

Cohorts are made when a worker asks, for the device that it has: large ones for GPUs, small ones for cores. A worker for which
nothing is left gets half of what the longest cohort still has to train, from its latest checkpoint. This module knows nothing
of Ray: `sweeps.driver` makes `Work` an actor.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweeps.packing import LEAST_SECONDS, MOST_ON_CPU, MOST_ON_GPU, Member, Size, cohort_size

MOST = {"cpu": MOST_ON_CPU, "gpu": MOST_ON_GPU}
"""Members of a cohort, by the kind of its device."""
TRIES = 3
"""Workers that may die of a run, with no segment made in between, before it is given up."""


@dataclass
class Lease:
    """What a worker trains now.

    Attributes:
        members: Its cohort.
        kind: What it trains on, cpu or gpu.
        began: When the segment that is being made began.
        segments: How many the members have behind them.
        wanted: Ids of members that are left to another worker after this segment.
    """

    members: list[Member]
    kind: str
    began: float
    segments: int
    wanted: list[str] = field(default_factory=list)


@dataclass
class Pace:
    """How fast devices of a kind train.

    Attributes:
        steps: Network steps that were made.
        seconds: How long they took.
    """

    steps: int = 0
    seconds: float = 0.0

    def seconds_for(self, size: Size) -> float:
        """How long a run takes at this pace; as estimated before, while no steps were made."""
        return size.steps * self.seconds / self.steps if self.steps else size.seconds


class Work:
    """The runs of a stage on their way.

    Args:
        members: What to train.
        sizes: Shape of a run -> what it takes.
        most: Members of a cohort; None chooses.
        clock: Gives the time in seconds.
    """

    def __init__(
        self,
        members: Sequence[Member],
        sizes: Mapping[tuple, Size],
        most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sizes, self.most, self.clock = sizes, most, clock
        self.slots: dict[str, int] = {}
        self.groups: dict[tuple, list[Member]] = defaultdict(list)  # (shape, segments) -> members that wait
        self.leases: dict[str, Lease] = {}
        self.tries: dict[str, int] = {}
        self.failed: dict[str, str] = {}  # run id -> why it is given up
        self.left_out: dict[str, str] = {}  # node -> why nothing more is trained there
        self.steps = 0
        self.paces = {"cpu": Pace(), "gpu": Pace()}
        self._cohort_sizes: dict[tuple, int] = {}
        self._queue(members)

    def _queue(self, members: Sequence[Member]) -> None:
        for m in members:
            self.groups[m.run.shape(), m.segments].append(m)

    # What workers ask and say.

    def take_cohort(self, worker: str, node: str, kind: str, memory: int | None = None) -> list[Member] | None:
        """The next cohort of a worker, which is done with what it had; empty if it can go, None to ask again soon.

        Args:
            worker: Its name.
            node: The node's name.
            kind: What it trains on, cpu or gpu.
            memory: Bytes that its device has free.
        """
        self.leases.pop(worker, None)
        if node in self.left_out:
            return []
        key, size = self._choose_group(kind, memory)
        if key is not None:
            group = self.groups[key]
            cohort, self.groups[key] = group[:size], group[size:]
            if not self.groups[key]:
                del self.groups[key]
            self.leases[worker] = Lease(cohort, kind, self.clock(), key[1])
            return cohort
        if self.groups:
            return []  # what is left is not for this kind of device
        return None if self._split_longest() else []

    def report_segment(self, worker: str, steps: int, ended: Sequence[str]) -> list[str]:
        """Say that a segment was made and checkpointed; returns the runs that the worker is to leave to another.

        Args:
            worker: Its name.
            steps: Network steps that it took.
            ended: Runs that came to an end with it.
        """
        lease = self.leases.get(worker)
        if lease is None:  # it was believed dead
            return []
        now = self.clock()
        self.steps += steps
        self.paces[lease.kind].steps += steps
        self.paces[lease.kind].seconds += now - lease.began
        lease.began, lease.segments = now, lease.segments + 1
        for m in lease.members:
            self.tries.pop(m.run_id, None)
        remaining = [replace(m, checkpoint=None, segments=lease.segments) for m in lease.members if m.run_id not in ended]
        given_away = [m for m in remaining if m.run_id in lease.wanted]
        lease.members = [m for m in remaining if m.run_id not in lease.wanted]
        lease.wanted = []
        self._queue(given_away)
        return [m.run_id for m in given_away]

    def give_up(self, worker: str, reason: str) -> None:
        """A worker cannot train its runs, for a reason of theirs: another would not either."""
        lease = self.leases.pop(worker, None)
        for m in lease.members if lease else ():
            self.failed[m.run_id] = reason

    def fail_runs(self, reasons: Mapping[str, str]) -> None:
        """The training of some runs raises an exception, each for its own reason: another worker would not get further."""
        self.failed |= reasons

    def leave_out(self, worker: str, node: str, reason: str) -> None:
        """A node cannot train: what its worker had goes elsewhere, and nothing more comes to it."""
        self.left_out[node] = reason
        lease = self.leases.pop(worker, None)
        self._queue(lease.members if lease else ())

    # What the driver asks and says.

    def worker_died(self, worker: str, reason: str) -> bool:
        """A worker died: others go on with what it had, unless that has killed too many of them; True if it had any."""
        lease = self.leases.pop(worker, None)
        if lease is None:
            return False
        for m in lease.members:
            self.tries[m.run_id] = self.tries.get(m.run_id, 0) + 1
            if self.tries[m.run_id] < TRIES:
                self._queue([m])
            else:
                self.failed[m.run_id] = f"{TRIES} workers died of it, the last one so: {reason}"
        return True

    def status(self, slots: Mapping[str, int]) -> dict[str, Any]:
        """How the work stands.

        Args:
            slots: Kind of device -> cohorts that the cluster can train at the same time on it.

        Returns:
            wanted: kind -> cohorts that wait for a worker; queued: runs that do; leased: kind -> cohorts in training; steps
            that were made; failed: run id -> why; left_out: node -> why.
        """
        self.slots = dict(slots)
        return {
            "wanted": {kind: self._count_waiting(kind) for kind in slots},
            "queued": sum(map(len, self.groups.values())),
            "leased": dict(Counter(lease.kind for lease in self.leases.values())),
            "steps": self.steps,
            "failed": dict(self.failed),
            "left_out": dict(self.left_out),
        }

    # How cohorts are made.

    def _count_waiting(self, kind: str) -> int:
        """Cohorts that wait for a device of this kind."""
        sizes = {key: self._next_size(key, kind, None) for key in self.groups}
        return sum(math.ceil(len(group) / sizes[key]) for key, group in self.groups.items() if sizes[key])

    def _choose_group(self, kind: str, memory: int | None) -> tuple[tuple | None, int]:
        """The group whose next cohort takes longest, and the size of that cohort; none if no cohort is worth it."""
        sizes = {key: self._next_size(key, kind, memory) for key in self.groups}
        key = max(sizes, key=lambda k: min(sizes[k], len(self.groups[k])) * self.sizes[k[0]].seconds, default=None)
        return (key, sizes[key]) if key is not None and sizes[key] else (None, 0)

    def _next_size(self, key: tuple, kind: str, memory: int | None) -> int:
        """Members of the next cohort of a group: as few cohorts as keep all slots busy; 0 if it is not worth it."""
        size, slots = self.sizes[key[0]], max(1, self.slots.get(kind, 1))
        most = self.most or MOST[kind]
        if memory is not None:
            most = max(1, min(most, memory // size.memory))
        if kind == "cpu" and self.slots.get("gpu"):
            return self._size_beside_gpus(size, most)
        # It is chosen once: a size that shrinks with what is left would end in cohorts of one.
        situation = (key, kind, slots, most)
        if situation not in self._cohort_sizes:
            self._cohort_sizes[situation] = cohort_size(len(self.groups[key]), size.seconds, slots, most)
        return self._cohort_sizes[situation]

    def _size_beside_gpus(self, size: Size, most: int) -> int:
        """Members of a cohort on a core that ends before the GPUs would be done with everything, by the pace measured."""
        gpus = self.paces["gpu"]
        if not gpus.steps:
            return 0  # nobody can say yet how fast the GPUs are
        steps_left = sum(len(group) * self.sizes[key[0]].steps for key, group in self.groups.items())
        until_done = steps_left * gpus.seconds / gpus.steps / self.slots["gpu"]
        seconds = self.paces["cpu"].seconds_for(size)
        return min(most, int(until_done / seconds)) if seconds else most

    def _split_longest(self) -> bool:
        """Ask the worker with most left to leave half of its runs after its segment; False if no cohort is worth splitting."""
        if any(lease.wanted for lease in self.leases.values()):
            return True  # one is asked already
        leases = [lease for lease in self.leases.values() if len(lease.members) > 1]
        longest = max(leases, key=self._seconds_left, default=None)
        if longest is None or self._seconds_left(longest) <= LEAST_SECONDS:
            return False
        longest.wanted = [m.run_id for m in longest.members[math.ceil(len(longest.members) / 2) :]]
        return True

    def _seconds_left(self, lease: Lease) -> float:
        """How long a worker still trains after the segment that is being made and the one whose checkpoint is written."""
        size = self.sizes[lease.members[0].run.shape()] if lease.members else Size(0.0)
        segments_left = max(0, size.segments - lease.segments - 2)
        return len(lease.members) * self.paces[lease.kind].seconds_for(size) * segments_left / size.segments
