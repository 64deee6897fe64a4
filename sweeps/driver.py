"""Drive the work of a stage with Ray Tune.

A Tune trial is a worker's turn: it looks at its node, then asks `Work` (an actor) for one cohort after the other, and reports
the runs that came to an end to this process, which alone writes results. Tune starts as many turns as there is work for,
wherever the cluster has room, also on nodes that join later.
"""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from presyn import PresynError
from sweeps.cluster.nodes import Driver
from sweeps.packing import Member, Size
from sweeps.worker import last_line, looked
from sweeps.work import Work

OnEnd = Callable[[str, dict[str, Any], dict[str, Any]], None]
"""Called in the driver with the id of a run that came to an end, its record, and where it ran."""
OnSteps = Callable[[int], None]
"""Called in the driver with network steps that were made since the last call."""

LOOK_SECONDS = 120.0  # in which a node must answer
POLL_SECONDS = 1.0  # between two looks at the cluster and the work
WAIT_SECONDS = 30.0  # without a worker, after which it is said what is waited for
AHEAD = 16  # turns that wait for nodes which may join
REMEDY = "Ray's Python there needs torch (2.11 or newer), numpy and scikit-learn, as here"
DEATHS = 3  # of workers for each node, before they asked for work, after which it is given up


class Drive:
    """The driver's side of a stage's work.

    Args:
        members: What to train.
        driver: What nodes must have in common with this process.
        sizes: Shape of a run -> what it takes.
        on_end: Called for every run that ends, as soon as it does.
        on_steps: Called with the progress.
        say: Prints a line.
        joined: Whether the cluster is one that nodes can join and leave.
    """

    def __init__(
        self,
        members: Sequence[Member],
        driver: Driver,
        sizes: Mapping[tuple, Size],
        on_end: OnEnd,
        on_steps: OnSteps,
        say: Callable[[str], None],
        joined: bool,
    ) -> None:
        import ray

        self.driver, self.cluster, self.on_end, self.on_steps, self.say = driver, driver.cluster, on_end, on_steps, say
        self.joined = joined
        self.waiting_for = {m.run_id for m in members}
        self.turns: dict[str, str] = {}  # trial id -> kind, of turns that have not ended
        self.running: set[str] = set()
        self.deaths, self.idle, self.steps = 0, 0, 0
        self.over, self.error = False, ""
        self.fatal: Exception | None = None
        self.nodes: dict[str, dict[str, float]] = {}
        self.left_out: dict[str, str] = {}
        self.kinds: tuple[str, ...] = ()
        self.status: dict[str, Any] = {}
        self._polled = -POLL_SECONDS
        self._served, self._told = time.monotonic(), ""
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        actor: Any = ray.remote(Work)
        actor = actor.options(num_cpus=0, scheduling_strategy=here)
        self.work: Any = actor.remote(members, sizes, self.cluster.max_members)

    def run(self) -> dict[str, str]:
        """Train; returns run id -> why, of runs that could not be.

        Raises:
            PresynError: no node can train, or Ray failed.
        """
        import ray
        from ray.exceptions import RayError
        from ray.tune.error import TuneError

        from sweeps.tuner import tuner_of

        scratch = tempfile.mkdtemp(prefix="presyn-tune-")
        try:
            self._look_at_nodes()
            self.poll()
            if not self.over:
                tuner_of(self, scratch).fit()
            self.status = ray.get(self.work.status.remote({}))
        except (TuneError, RayError) as e:
            raise self.fatal or PresynError(f"Ray failed: {last_line(e)}. The same command goes on.") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            ray.kill(self.work)
        if self.fatal or self.error:
            raise self.fatal or PresynError(self.error)
        return dict(self.status["failed"])

    # Nodes.

    def _look_at_nodes(self) -> None:
        """See by a small task on each node whether it can train, before anything is."""
        import ray

        self._count_nodes()
        if not self.joined:
            return
        at = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        tasks: dict[Any, tuple[str, str]] = {}
        for node, resources in self.nodes.items():
            kind = "gpu" if "gpu" in self.kinds and resources.get("GPU") else "cpu"
            needs = {"num_cpus": 0, "num_gpus": 0.01 if kind == "gpu" else 0, "max_retries": 0}
            task: Any = ray.remote(looked).options(**needs, scheduling_strategy=at(node, soft=False))
            tasks[task.remote(self.driver, kind)] = (node, kind)
        ready, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=LOOK_SECONDS)
        for task in ready:
            try:
                wrong = ray.get(task)
            except Exception as e:  # what a broken node raises is anything
                wrong = f"{self._name(tasks[task][0])}: {last_line(e)}. {REMEDY}"
            if wrong:
                self._leave_out(tasks[task][0], wrong)
        for task in late:
            node, kind = tasks[task]
            if kind == "cpu":  # a GPU may be busy; then its workers look for themselves
                self._leave_out(node, f"{self._name(node)}: it did not answer within {LOOK_SECONDS:.0f} s. Restart Ray there.")
            ray.cancel(task, force=True)

    def _leave_out(self, node: str, why: str) -> None:
        import ray

        ray.get(self.work.leave_out.remote("", node, why))

    def _name(self, node: str) -> str:
        import ray

        return next((n["NodeManagerHostname"] for n in ray.nodes() if n["NodeID"] == node), node)

    def _count_nodes(self) -> None:
        import ray

        self.nodes = {n["NodeID"]: n["Resources"] for n in ray.nodes() if n["Alive"]}
        self.kinds = self.cluster.kinds(sum(r.get("GPU", 0) for n, r in self.nodes.items() if n not in self.left_out))

    def _slots(self) -> dict[str, int]:
        """Kind -> cohorts that the nodes which can train take at the same time."""
        good = [r for node, r in self.nodes.items() if node not in self.left_out]
        slots = {kind: sum(self.cluster.slots(kind, r) for r in good) for kind in self.kinds}
        if len(slots) == 2:  # a cohort on a GPU takes cores as well
            slots["cpu"] = max(0, slots["cpu"] - slots["gpu"])
        return slots

    # Turns.

    def next_turn(self) -> dict[str, Any] | None:
        """The config of the next turn; None if no more are needed now."""
        self.poll()
        if self.over:
            return None
        slots = self._slots()
        alive = Counter(self.turns.values())
        for kind in self.kinds:
            unserved = alive[kind] - self.status["leased"].get(kind, 0)
            most = slots[kind] + (AHEAD if self.joined else 0)
            if unserved < self.status["wanted"][kind] and alive[kind] < most:
                return {"kind": kind, "avoid": ",".join(sorted(self.left_out))}
        return None

    def poll(self) -> None:
        """Look at the work and the nodes, now and then."""
        import ray

        if time.monotonic() - self._polled < POLL_SECONDS or self.over:
            return
        self._polled = time.monotonic()
        if self.joined:
            self._count_nodes()
        self.status = ray.get(self.work.status.remote(self._slots()))
        self.on_steps(self.status["steps"] - self.steps)
        self.steps = self.status["steps"]
        for node, why in self.status["left_out"].items():
            if node not in self.left_out:
                self.left_out[node] = why
                self.say(f"left out {why}")
                self._count_nodes()
        if not set(self.nodes) - set(self.left_out) and self.nodes:
            self.error = "No node is left to train on. " + " ".join(dict.fromkeys(self.left_out.values()))
        idle = not self.turns and not sum(self.status["leased"].values()) and not self.status["queued"]
        self.idle = self.idle + 1 if idle else 0
        # Idle for long while runs are missing: their end was lost on the way, and stands in their checkpoints.
        self.over = bool(self.error) or not self.waiting_for - self.status["failed"].keys() or self.idle > 3
        self._say_what_is_waited_for()

    def _say_what_is_waited_for(self) -> None:
        if self.running or self.over:
            self._served, self._told = time.monotonic(), ""
            return
        if time.monotonic() - self._served < WAIT_SECONDS:
            return
        wants = {"gpu": f"{self.cluster.gpu_share:g} GPU and {self.cluster.cpus} CPU", "cpu": f"{self.cluster.cpus} CPU"}
        there = Counter[str]()
        for node in self.nodes.keys() - self.left_out.keys():
            there.update({k: int(self.nodes[node].get(k, 0)) for k in ("CPU", "GPU")})
        good = len(self.nodes) - len(self.left_out)
        told = (
            f"waiting for {' or '.join(wants[k] for k in self.kinds)} for a cohort; the cluster has {there['CPU']} CPU and "
            f"{there['GPU']} GPU on {good} node{'s' * (good != 1)}, busy or not enough"
        )
        if told != self._told:
            self._told = told
            self.say(told)

    # What Tune tells.

    def started(self, trial: str, kind: str) -> None:
        self.turns[trial] = kind

    def report(self, result: dict[str, Any]) -> None:
        for run_id, record in result.get("ended", ()):
            if run_id in self.waiting_for:  # a worker that was believed dead may say it again
                self.waiting_for.discard(run_id)
                self.on_end(run_id, record, result["where"])
        self.deaths = 0
        if not self.waiting_for - self.status["failed"].keys():
            self.over = True

    def ended(self, trial: str, why: str = "") -> None:
        """A turn came to its end, or its worker died."""
        import ray

        self.turns.pop(trial, None)
        self.running.discard(trial)
        if why and not ray.get(self.work.lost.remote(trial, why)):
            self.deaths += 1
            if self.deaths >= DEATHS * max(2, len(self.nodes)):
                self.error = f"Workers die before they train: {why}. {REMEDY}"
                self.over = True
