"""The work of a stage: which runs wait, who trains which, and what a worker that asks is given.

Cohorts are made when a worker asks, for the device that it has: large ones for GPUs, small ones for cores. A worker that
finds nothing left gets half of what the longest cohort still has to train, from its latest checkpoint. Knows nothing of Ray:
`sweeps.execute` makes it an actor.
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
TRIES = 3  # of a run whose worker died, without a part made in between


@dataclass
class Lease:
    """What a worker trains now."""

    members: list[Member]
    kind: str
    began: float
    parts: int  # that were made before it began
    wanted: list[str] = field(default_factory=list)  # runs that another worker waits for


class Work:
    """The runs of a stage on their way.

    Args:
        members: What to train.
        sizes: Shape of a run -> what it takes.
        most: Members of a cohort; None chooses.
        clock: Seconds.
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
        self.groups: dict[tuple, list[Member]] = defaultdict(list)
        self.leases: dict[str, Lease] = {}
        self.tries: dict[str, int] = {}
        self.failed: dict[str, str] = {}  # run id -> why it is given up
        self.left_out: dict[str, str] = {}  # node -> why nothing more is trained there
        self.steps = 0
        self.pace = {"cpu": [0.0, 0.0], "gpu": [0.0, 0.0]}  # network steps and the seconds they took
        self._cuts: dict[tuple, int] = {}
        self._queue(members)

    def _queue(self, members: Sequence[Member]) -> None:
        for m in members:
            self.groups[m.run.shape(), m.parts].append(m)

    # What workers ask and say.

    def take(self, worker: str, node: str, kind: str, memory: int | None = None) -> list[Member] | None:
        """The next cohort of a worker, which is done with what it had; empty if it can go, None to ask again soon.

        Args:
            worker: Its name.
            node: The node's name.
            kind: cpu or gpu, what it trains on.
            memory: Bytes that its device has free.
        """
        self.leases.pop(worker, None)
        if node in self.left_out:
            return []
        key, size = self._best(kind, memory)
        if key is not None:
            cohort: list[Member] = []
            for kin in self._kin(key, kind):
                group, room = self.groups[kin], size - len(cohort)
                cohort, self.groups[kin] = cohort + group[:room], group[room:]
                if not self.groups[kin]:
                    del self.groups[kin]
            self.leases[worker] = Lease(cohort, kind, self.clock(), key[1])
            return cohort
        if self.groups:
            return []  # what is left is not for this kind of device
        return None if self._split() else []

    def part(self, worker: str, steps: int, ended: Sequence[str]) -> list[str]:
        """Say that a part was made and checkpointed; returns the runs that the worker is to leave to another.

        Args:
            worker: Its name.
            steps: Network steps that it took.
            ended: Runs that came to an end with it.
        """
        lease = self.leases.get(worker)
        if lease is None:  # it was believed dead
            return []
        self.steps += steps
        pace = self.pace[lease.kind]
        now = self.clock()
        pace[0], pace[1] = pace[0] + steps, pace[1] + now - lease.began
        lease.began, lease.parts = now, lease.parts + 1
        for m in lease.members:
            self.tries.pop(m.run_id, None)
        going = [replace(m, checkpoint=None, parts=lease.parts) for m in lease.members if m.run_id not in ended]
        give = [m for m in going if m.run_id in lease.wanted]
        lease.members = [m for m in going if m.run_id not in lease.wanted]
        lease.wanted = []
        self._queue(give)
        return [m.run_id for m in give]

    def give_up(self, worker: str, why: str) -> None:
        """A worker cannot train its runs, for a reason of theirs: another would not either."""
        lease = self.leases.pop(worker, None)
        for m in lease.members if lease else ():
            self.failed[m.run_id] = why

    def leave_out(self, worker: str, node: str, why: str) -> None:
        """A node cannot train: what its worker had goes elsewhere, and nothing more comes to it."""
        self.left_out[node] = why
        lease = self.leases.pop(worker, None)
        self._queue(lease.members if lease else ())

    # What the driver asks and says.

    def lost(self, worker: str, why: str) -> bool:
        """A worker died: others go on with what it had, unless that has killed too many of them; True if it had any."""
        lease = self.leases.pop(worker, None)
        if lease is None:
            return False
        for m in lease.members:
            self.tries[m.run_id] = self.tries.get(m.run_id, 0) + 1
            if self.tries[m.run_id] < TRIES:
                self._queue([m])
            else:
                self.failed[m.run_id] = f"{TRIES} workers died of it, the last one so: {why}"
        return True

    def status(self, slots: Mapping[str, int]) -> dict[str, Any]:
        """How it stands.

        Args:
            slots: Kind of device -> cohorts that the cluster can train at the same time on it.

        Returns:
            wanted: kind -> cohorts that wait for a worker; queued: runs that do; leased: kind -> cohorts in training; steps
            that were made; failed: run id -> why; left_out: node -> why.
        """
        self.slots = dict(slots)
        wanted = {kind: self._waiting(kind) for kind in slots}
        return {
            "wanted": wanted,
            "queued": sum(map(len, self.groups.values())),
            "leased": dict(Counter(lease.kind for lease in self.leases.values())),
            "steps": self.steps,
            "failed": dict(self.failed),
            "left_out": dict(self.left_out),
        }

    # How cohorts are made.

    def _waiting(self, kind: str) -> int:
        """Cohorts that wait for such a device."""
        left, cohorts = set(self.groups), 0
        for key in list(self.groups):
            size = self._size(key, kind, None) if key in left else 0
            kin = [k for k in self._kin(key, kind) if k in left] if size else []
            cohorts += math.ceil(sum(len(self.groups[k]) for k in kin) / size) if size else 0
            left -= set(kin)
        return cohorts

    def _best(self, kind: str, memory: int | None) -> tuple[tuple | None, int]:
        """The group whose next cohort takes longest, and the size of that; none if nothing is worth it."""
        sizes = {key: self._size(key, kind, memory) for key in self.groups}
        key = max(sizes, key=lambda k: min(sizes[k], len(self.groups[k])) * self.sizes[k[0]].seconds, default=None)
        return (key, sizes[key]) if key is not None and sizes[key] else (None, 0)

    def _kin(self, key: tuple, kind: str) -> list[tuple]:
        """A group, and on a GPU those that can share a program with it, because small cohorts leave one idle."""
        if kind != "gpu":
            return [key]
        family = self.groups[key][0].run.family()
        others = [k for k, g in self.groups.items() if k != key and k[1] == key[1] and g[0].run.family() == family]
        return [key, *others]

    def _most(self, kind: str, memory: int | None, takes: Size) -> int:
        """Members that a cohort may have."""
        most = self.most or MOST[kind]
        return most if memory is None else max(1, min(most, memory // takes.memory))

    def _size(self, key: tuple, kind: str, memory: int | None) -> int:
        """Members of the next cohort of a group: as few cohorts as keep all slots busy; 0 if it is not worth it."""
        takes, slots = self.sizes[key[0]], max(1, self.slots.get(kind, 1))
        most = self._most(kind, memory, takes)
        if kind == "cpu" and self.slots.get("gpu"):
            return self._beside_gpus(takes, most)
        cut = (key if kind != "gpu" else (self.groups[key][0].run.family(), key[1]), kind, slots, most)
        if cut not in self._cuts:  # once: a size that shrinks with what is left would end in cohorts of one
            count = sum(len(self.groups[kin]) for kin in self._kin(key, kind))
            self._cuts[cut] = cohort_size(count, takes.seconds, slots, most)
        return self._cuts[cut]

    def _beside_gpus(self, takes: Size, most: int) -> int:
        """Members of a cohort on a core that ends before the GPUs would be done with everything, by the pace measured."""
        steps, seconds = self.pace["gpu"]
        if not steps:
            return 0  # the GPUs' pace is not known yet
        left = sum(len(g) * self.sizes[k[0]].steps for k, g in self.groups.items())
        until_done = left * seconds / steps / self.slots["gpu"]
        mine, took = self.pace["cpu"]
        each = takes.steps * took / mine if mine else takes.seconds
        return min(most, int(until_done / each)) if each else most

    def _split(self) -> bool:
        """Ask the worker with most left to leave half of its runs after its part; False if no cohort is worth splitting."""
        asked = [lease for lease in self.leases.values() if lease.wanted]
        left = {name: self._seconds_left(lease) for name, lease in self.leases.items() if not lease.wanted}
        splittable = {n: s for n, s in left.items() if len(self.leases[n].members) > 1 and s > LEAST_SECONDS}
        if splittable and not asked:
            lease = self.leases[max(splittable, key=lambda n: splittable[n])]
            lease.wanted = [m.run_id for m in lease.members[math.ceil(len(lease.members) / 2) :]]
        return bool(splittable or asked)

    def _seconds_left(self, lease: Lease) -> float:
        takes = self.sizes[lease.members[0].run.shape()] if lease.members else Size(0.0)
        to_go = max(0, takes.parts - lease.parts - 2)  # not the part that is being made while one is written, nor that one
        steps, seconds = self.pace[lease.kind]
        each = takes.steps * seconds / steps if steps else takes.seconds
        return len(lease.members) * each * to_go / takes.parts
