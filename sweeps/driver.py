"""Drive the work of a stage with Ray Tune.

A Tune trial is a worker: it looks at its node, then asks `Work` (an actor) for one cohort after the other, and reports the
runs that came to an end to this process, which alone writes results. Tune starts as many workers as there is work for,
wherever the cluster has room, also on nodes that join later.
"""

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from presyn import PresynError
from sweeps.cluster.nodes import Setup, describe_fault
from sweeps.cluster.ray_process import RayLost
from sweeps.packing import Member, Size
from sweeps.work import Work
from sweeps.worker import last_line

Tell = Callable[[str, Any], None]
"""Tells who waits for the work: ("ended", (run id, record, where)) of a run that came to its end, ("steps", number) of network
steps since the last time, ("line", text) for the user, and ("here", None) now and then."""

ANSWER_SECONDS = 120.0  # in which a node must answer
POLL_SECONDS = 1.0  # between two looks at the cluster and the work
WAIT_SECONDS = 30.0  # without a worker, after which it is said what is waited for
WORKERS_AHEAD = 16  # workers that wait for nodes which may join
MOST_DEATHS = 3  # of workers for each node, before they asked for work, after which it is given up
IDLE_POLLS = 3  # without work or worker, after which missing runs are looked for in their checkpoints
REMEDY = "Ray's Python there needs torch (2.11 or newer), numpy and scikit-learn, as here"


class Driver:
    """The driver's side of a stage's work.

    Args:
        members: What to train.
        setup: What workers need to train as this process would.
        sizes: Shape of a run -> what it takes.
        tell: Called with what happens.
        joined: Whether the cluster is one that nodes can join and leave.

    Attributes:
        missing: Ids of the runs that have not come to an end.
        workers: Trial id -> kind of device, of workers that Tune was asked to start and that have not ended.
        running: Trial ids of the workers that have started.
        nodes: Id of a node -> its resources.
        left_out: Id of a node -> why nothing is trained there.
        finished: Whether no more workers are wanted.
        error: Why the work cannot go on, in one line.
    """

    def __init__(
        self,
        members: Sequence[Member],
        setup: Setup,
        sizes: Mapping[tuple, Size],
        tell: Tell,
        joined: bool,
    ) -> None:
        import ray

        self.setup, self.cluster, self.tell, self.joined = setup, setup.cluster, tell, joined
        self.missing = {m.run_id for m in members}
        self.workers: dict[str, str] = {}
        self.running: set[str] = set()
        self.nodes: dict[str, dict[str, float]] = {}
        self.left_out: dict[str, str] = {}
        self.kinds: tuple[str, ...] = ()
        self.status: dict[str, Any] = {}
        self.finished, self.error = False, ""
        self._deaths, self._idle_polls, self._steps = 0, 0, 0
        self._polled_at = -POLL_SECONDS
        self._last_worker_at, self._last_line = time.monotonic(), ""
        on_this_node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        actor: Any = ray.remote(Work)
        actor = actor.options(num_cpus=0, scheduling_strategy=on_this_node)
        self.work: Any = actor.remote(members, sizes, self.cluster.cohort)

    def run(self) -> dict[str, str]:
        """Train; returns run id -> why, of runs that could not be.

        Raises:
            PresynError: no node can train.
            RayLost: Ray failed.
        """
        import ray
        from ray.exceptions import RayError
        from ray.tune.error import TuneError

        from sweeps.tuner import make_tuner  # needs Ray already when it is imported

        scratch = tempfile.mkdtemp(prefix="tune-", dir=Path.cwd())  # that of the process that speaks to Ray, which goes with it
        try:
            self._look_at_nodes()
            self.poll()
            if not self.finished:
                make_tuner(self, scratch).fit()
            self.status = ray.get(self.work.status.remote({}))
        except (TuneError, RayError) as e:
            raise RayLost(f"Ray failed: {_describe_death(e)}") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            with contextlib.suppress(Exception):  # where Ray is gone, so is the actor
                ray.kill(self.work)
        if self.error:
            raise PresynError(self.error)
        return dict(self.status["failed"])

    # Nodes.

    def _look_at_nodes(self) -> None:
        """See by a small task on each node whether it can train, before anything is trained."""
        import ray

        self._count_nodes()
        if not self.joined:
            return
        affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        tasks: dict[Any, tuple[str, str]] = {}
        for node, resources in self.nodes.items():
            kind = "gpu" if "gpu" in self.kinds and resources.get("GPU") else "cpu"
            needs = {"num_cpus": 0, "num_gpus": 0.01 if kind == "gpu" else 0, "max_retries": 0}
            task: Any = ray.remote(describe_fault).options(**needs, scheduling_strategy=affinity(node, soft=False))
            tasks[task.remote(self.setup, kind)] = (node, kind)
        ready, late = ray.wait(list(tasks), num_returns=len(tasks), timeout=ANSWER_SECONDS)
        for task in ready:
            node, _ = tasks[task]
            try:
                fault = ray.get(task)
            except Exception as e:  # what a broken node raises is anything
                fault = f"{self._host_name(node)}: {last_line(e)}. {REMEDY}"
            if fault:
                self._leave_out(node, fault)
        for task in late:
            node, kind = tasks[task]
            if kind == "cpu":  # a GPU may be busy; then its workers look for themselves
                fault = f"it did not answer within {ANSWER_SECONDS:.0f} s. Restart Ray there."
                self._leave_out(node, f"{self._host_name(node)}: {fault}")
            ray.cancel(task, force=True)

    def _leave_out(self, node: str, reason: str) -> None:
        import ray

        ray.get(self.work.leave_out.remote("", node, reason))

    def _host_name(self, node: str) -> str:
        import ray

        return next((n["NodeManagerHostname"] for n in ray.nodes() if n["NodeID"] == node), node)

    def _count_nodes(self) -> None:
        import ray

        self.nodes = {n["NodeID"]: n["Resources"] for n in ray.nodes() if n["Alive"]}
        self.kinds = self.cluster.kinds(sum(r.get("GPU", 0) for r in self._good_nodes()))

    def _good_nodes(self) -> list[dict[str, float]]:
        """The resources of the nodes that can train."""
        return [resources for node, resources in self.nodes.items() if node not in self.left_out]

    def _slots(self) -> dict[str, int]:
        """Kind of device -> cohorts that the nodes which can train take at the same time."""
        slots = {kind: sum(self.cluster.slots(kind, r) for r in self._good_nodes()) for kind in self.kinds}
        most = self.cluster.most_cohorts()
        if len(slots) == 2:  # a cohort on a GPU takes cores as well
            slots["cpu"] = max(0, min(slots["cpu"], most) - slots["gpu"])
        return {kind: min(number, most) for kind, number in slots.items()}

    # Workers.

    def next_worker(self) -> dict[str, Any] | None:
        """The config of the next worker; None if no more are needed now."""
        self.poll()
        if self.finished:
            return None
        slots = self._slots()
        alive = Counter(self.workers.values())
        for kind in self.kinds:
            without_work = alive[kind] - self.status["leased"].get(kind, 0)
            others = len(self.workers) - alive[kind]
            most = min(slots[kind] + (WORKERS_AHEAD if self.joined else 0), self.cluster.most_cohorts() - others)
            if without_work < self.status["wanted"][kind] and alive[kind] < most:
                return {"kind": kind, "avoid": ",".join(sorted(self.left_out))}
        return None

    def poll(self) -> None:
        """Look at the work and the nodes, now and then."""
        import ray

        if time.monotonic() - self._polled_at < POLL_SECONDS or self.finished:
            return
        self._polled_at = time.monotonic()
        if self.joined:
            self._count_nodes()
        self.status = ray.get(self.work.status.remote(self._slots()))
        self.tell("here", None)
        if self.status["steps"] > self._steps:
            self.tell("steps", self.status["steps"] - self._steps)
        self._steps = self.status["steps"]
        for node, reason in self.status["left_out"].items():
            if node not in self.left_out:
                self.left_out[node] = reason
                self.tell("line", f"left out {reason}")
                self._count_nodes()
        if not set(self.nodes) - set(self.left_out) and self.nodes:
            self.error = "No node is left to train on. " + " ".join(dict.fromkeys(self.left_out.values()))
        idle = not self.workers and not sum(self.status["leased"].values()) and not self.status["queued"]
        self._idle_polls = self._idle_polls + 1 if idle else 0
        # Idle for long while runs are missing: their end was lost on the way, and stands in their checkpoints.
        self.finished = bool(self.error) or self._all_ended() or self._idle_polls > IDLE_POLLS
        self._say_what_is_waited_for()

    def _all_ended(self) -> bool:
        """Whether every run has come to an end or is given up."""
        return not self.missing - self.status["failed"].keys()

    def _say_what_is_waited_for(self) -> None:
        if self.running or self.finished:
            self._last_worker_at, self._last_line = time.monotonic(), ""
            return
        if time.monotonic() - self._last_worker_at < WAIT_SECONDS:
            return
        wants = {"gpu": f"{self.cluster.gpu_share:g} GPU and {self.cluster.cpus} CPU", "cpu": f"{self.cluster.cpus} CPU"}
        good_nodes = self._good_nodes()
        cpus, gpus = (sum(int(resources.get(name, 0)) for resources in good_nodes) for name in ("CPU", "GPU"))
        line = (
            f"waiting for {' or '.join(wants[k] for k in self.kinds)} for a cohort; the cluster has {cpus} CPU and "
            f"{gpus} GPU on {len(good_nodes)} node{'s' * (len(good_nodes) != 1)}, busy or not enough"
        )
        if line != self._last_line:
            self._last_line = line
            self.tell("line", line)

    # What Tune says.

    def on_asked(self, trial: str, kind: str) -> None:
        """Tune is asked to start a worker."""
        self.workers[trial] = kind

    def on_started(self, trial: str) -> None:
        """A worker has started."""
        self.running.add(trial)

    def on_report(self, result: dict[str, Any]) -> None:
        """A worker reports runs that came to an end."""
        for run_id, record, where in result.get("ended", ()):
            if run_id in self.missing:  # a worker that was believed dead may say it again
                self.missing.discard(run_id)
                self.tell("ended", (run_id, record, where))
        self._deaths = 0
        if self._all_ended():
            self.finished = True

    def on_ended(self, trial: str, death: str = "") -> None:
        """A worker came to its end; or it died, with the reason."""
        import ray

        self.workers.pop(trial, None)
        self.running.discard(trial)
        if death and not ray.get(self.work.worker_died.remote(trial, death)):
            self._deaths += 1
            if self._deaths >= MOST_DEATHS * max(2, len(self.nodes)):
                self.error = f"Workers die before they train: {death}. {REMEDY}"
                self.finished = True


def _describe_death(e: BaseException) -> str:
    """Why Ray failed, in a few words; its own message goes on for pages."""
    text = f"{type(e).__name__} {e}"
    if "OutOfMemory" in text or "running low on memory" in text:
        return "its monitor of memory killed processes that are needed, because the memory of their node ran low"
    if "ActorDiedError" in text:
        return "the process that hands out the work died"
    return last_line(e)
