"""The runs that stages want, what is known of them, and how long the rest takes on this machine."""

import json
import multiprocessing
import socket
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from rich.console import Console

from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import MEASURES, Benchmark, PresynError, Run, Schedule, choose_device, make_cohort
from presyn.device import MOST_BYTES, refuse_too_large, usable_cores
from presyn.files import machine_memory
from presyn.inputs import choose_arithmetic
from presyn.measures import figure_names
from presyn.methods import METHODS, method_class
from sweeps.checkpoints import segments_in_name
from sweeps.cluster import Cluster
from sweeps.cluster.find import find_cluster
from sweeps.cluster.ray_process import cluster_slots
from sweeps.user_code import loaded, send_by_value
from sweeps.worker import last_line

console = Console(stderr=True, markup=False, emoji=False)  # plans, progress and messages; results go to stdout


@dataclass
class Plan:
    """The runs that stages want, and what is known of them.

    Attributes:
        store: Where results are.
        cluster: Where to train.
        runs: run_id -> run, in the order they were asked for.
        rows: run_id -> row, of those that are in the store.
        paused: run_ids of those whose state stays at their end, because longer runs may go on from there.
        shorter: run_id -> the id and the run that it goes on from.
        fresh: Whether checkpoints count as none.
    """

    store: Store
    cluster: Cluster
    runs: dict[str, Run] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    shorter: dict[str, tuple[str, Run]] = field(default_factory=dict)
    fresh: bool = False

    def add(self, run: Run, pauses: bool = False, goes_on_from: Run | None = None) -> str:
        """Add a run; returns its id. Two wishes for the same run with different measurements are one run with both.

        Args:
            run: The run.
            pauses: Whether its state stays at its end, because a longer run may go on from there.
            goes_on_from: The run on fewer tasks that it goes on from, if that left its state.

        Raises:
            PresynError: its data cannot be had, or do not do for its benchmark.
        """
        run_id = run.run_id(self.sha256(run))
        row = self.rows.get(run_id) if run_id in self.runs else self.store.get(run_id)
        wanted = merged(run, self.runs.get(run_id), row)
        if row is not None and self._is_complete(row, wanted):
            self.rows[run_id] = row
        else:
            self.rows.pop(run_id, None)
        self.runs[run_id] = wanted
        if pauses:
            self.paused.add(run_id)
        if goes_on_from is not None:
            self.shorter[run_id] = (goes_on_from.run_id(self.sha256(goes_on_from)), goes_on_from)
        return run_id

    def _is_complete(self, row: Row, run: Run) -> bool:
        """Whether a row has all that is wanted of its run."""
        if row.status != "finished":
            return True
        kept = not run.benchmark.keep or self.store.session_checkpoints().kept_state(row.run_id) is not None
        return kept and figure_names(run.benchmark.measures) <= row.record.figures.keys()

    def restricted(self, ids: Iterable[str]) -> "Plan":
        """The plan of some of its runs."""
        runs = {run_id: self.runs[run_id] for run_id in ids}
        rows = {i: self.rows[i] for i in runs if i in self.rows}
        shorter = {i: self.shorter[i] for i in runs if i in self.shorter}
        return replace(self, runs=runs, rows=rows, paused=self.paused & runs.keys(), shorter=shorter)

    def sha256(self, run: Run) -> str:
        return run.benchmark.load(self.cluster.data).sha256

    @property
    def missing(self) -> dict[str, Run]:
        return {i: r for i, r in self.runs.items() if i not in self.rows}

    def refuse_too_large(self, runs: Iterable[Run]) -> None:
        """Raise a PresynError for a network that this machine cannot hold, or that no node of a cluster could."""
        here = machine_memory() if self.cluster.ray_address is None and self.cluster.device in (None, "cpu") else MOST_BYTES
        for run in runs:
            refuse_too_large(run, run.benchmark.load(self.cluster.data), here)

    def seconds(self, run: Run) -> float:
        """How long a run takes on one core (or GPU) of this machine, measured on a few steps and remembered."""
        kind, timings = self._kind(run), self._timings()
        if kind not in timings:
            timings[kind] = self._measure(run)
            self.store.write(self.store.root / "timings.json", json.dumps(timings))
        step, image = timings[kind]
        schedule = self.schedule(run)
        return step * self.steps(run) + image * (schedule.images_tested() + measured_images(run, schedule))

    def _kind(self, run: Run) -> str:
        """What the time of a step depends on: runs of one kind are measured once."""
        options, tasks, device = run.shape()[2], run.benchmark, self.device()
        network = [run.method, tasks.dataset, tasks.kind, tasks.hidden or tasks.inputs, tasks.batch_size, options]
        arithmetic = choose_arithmetic(run.benchmark.load(self.cluster.data), device, self.cluster.arithmetic)
        return json.dumps([*network, arithmetic, socket.gethostname(), str(device), torch.__version__], default=list)

    def _measure(self, run: Run) -> tuple[float, float]:
        """Seconds for a step and for testing an image; by another run of the kind if the method raises for this one."""
        device = self.device()
        arithmetic = choose_arithmetic(run.benchmark.load(self.cluster.data), device, self.cluster.arithmetic)
        measured = measure_apart if device.type == "cuda" else measure
        errors: list[Exception] = []
        kind = self._kind(run)
        others = (r for r in self.missing.values() if r != run and self._kind(r) == kind)
        for candidate in chain([run], others):
            self.refuse_too_large([candidate])
            try:
                return measured(candidate, self.cluster.data, str(device), arithmetic)
            except Exception as e:  # anything may be raised by a method, and by it for some settings alone
                if device.type != "cpu" and isinstance(e, PresynError):  # the device cannot be used
                    raise
                errors.append(e)
        if isinstance(errors[0], PresynError):
            raise errors[0]
        frames = [f for f in traceback.extract_tb(errors[0].__traceback__) if "site-packages" not in f.filename]
        why = f"{type(errors[0]).__name__}: {last_line(errors[0])}, {Path(frames[-1].filename).name} line {frames[-1].lineno}"
        raise PresynError(f"{run.method} raises an error in its first steps: {why}") from errors[0]

    def steps(self, run: Run) -> int:
        """Training steps of a run."""
        schedule = self.schedule(run)
        return schedule.first_step(schedule.segments)

    def steps_made(self) -> dict[str, int]:
        """Run id -> training steps behind it, of the missing runs that go on from a checkpoint or from a run on fewer tasks.

        Checkpoints in an object store are not asked for: a plan needs no network.
        """
        checkpoints = self.store.session_checkpoints()
        index = checkpoints.index() if isinstance(checkpoints.folder, Path) and not self.fresh else {}
        steps = {i: self.steps(self.shorter[i][1]) for i in self.missing.keys() & self.shorter.keys()}
        for run_id in self.missing.keys() & index.keys():
            schedule = self.schedule(self.runs[run_id])
            segments = min(segments_in_name(index[run_id][0]), schedule.segments)
            steps[run_id] = max(schedule.first_step(segments), steps.get(run_id, 0))
        return steps

    def device(self) -> torch.device:
        """Where steps are measured: the device to train on, or the CPU when only other nodes of a Ray cluster have that one."""
        try:
            return choose_device(self.cluster.device)
        except PresynError:
            if self.cluster.ray_address or find_cluster(None):
                return torch.device("cpu")
            raise

    def _timings(self) -> dict[str, Any]:
        try:
            timings = json.loads((self.store.root / "timings.json").read_text(encoding="utf-8"))
            return {k: (float(step), float(image)) for k, (step, image) in timings.items() if step > 0 and image > 0}
        except (OSError, ValueError, TypeError, AttributeError):  # they are measured again
            return {}

    def schedule(self, run: Run) -> Schedule:
        """How a run is cut into segments, steps and tests."""
        return _schedule(run.benchmark, method_class(run.method).joint, self.cluster.data)


def measure(run: Run, data: str | None, device: str, arithmetic: str | None = None) -> tuple[float, float]:
    """Seconds that a member of a small cohort takes for a step and for testing an image, on one core or a GPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return make_cohort([run] * 2, run.benchmark.load(data), torch.device(device), arithmetic=arithmetic).measure()
    finally:
        torch.set_num_threads(threads)


def measure_apart(run: Run, data: str | None, device: str, arithmetic: str | None = None) -> tuple[float, float]:
    """`measure` in a process of its own: this one would keep a context on a GPU that workers need."""
    send_by_value()
    content = cloudpickle.dumps((run, loaded.methods.get(run.method)))
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_measure_there, content, data, device, arithmetic).result()
    except (RuntimeError, OSError) as e:  # no memory left there, or the process was killed
        why = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise PresynError(f"A few steps could not be measured on {device} ({why}). Is it free? Or use --device cpu.") from None


def _measure_there(content: bytes, data: str | None, device: str, arithmetic: str | None) -> tuple[float, float]:
    """`measure` of a run that comes with its method, if that is a user's own, whose file this process does not know."""
    run, method = cloudpickle.loads(content)
    if method is not None:
        METHODS.setdefault(run.method, method)
    return measure(run, data, device, arithmetic)


@cache
def _schedule(benchmark: Benchmark, joint: bool, root: str | None) -> Schedule:
    return Schedule.for_benchmark(benchmark, benchmark.load(root), joint)


def measured_images(run: Run, schedule: Schedule) -> float:
    """Test images that measurements show to sampled networks, as if in tests."""
    samples = method_class(run.method).make_traits(run.options).transmissions_per_test
    share = min(1.0, run.benchmark.passes / samples)
    tests = [(MEASURES[m].tests, schedule.segments * share if MEASURES[m].every else 1) for m in run.benchmark.measures]
    return schedule.test[0] * sum(number * times for number, times in tests)


def merged(run: Run, other: Run | None, row: Row | None) -> Run:
    """The run, measured as both wishes want it and as its row is, so that a poorer record never replaces a fuller one."""
    wanted = {*run.benchmark.measures, *(other.benchmark.measures if other else ())}
    if row is not None:
        wanted |= {m for m in MEASURES if figure_names([m]) <= row.record.figures.keys()}
    keep = run.benchmark.keep or (other is not None and other.benchmark.keep)
    measures = tuple(m for m in MEASURES if m in wanted)
    if (measures, keep) == (run.benchmark.measures, run.benchmark.keep):
        return run
    return replace(run, benchmark=replace(run.benchmark, measures=measures, keep=keep))


def describe(plan: Plan, title: str, here: bool = False) -> float:
    """Print what will run and for how long, here in one process or on all cores there are; returns the estimate in seconds."""
    missing, made = plan.missing, plan.steps_made()
    begun = f", {len(made)} of them begun" if made else ""
    count = f"{len(plan.runs)} runs, {len(plan.rows)} in the store, {len(missing)} to train{begun}"
    console.print(f"{title}: {count}", highlight=False)
    if not missing:
        return 0.0
    with console.status("measuring a few steps of each kind …"):
        work = sum(plan.seconds(run) * (1 - made.get(i, 0) / plan.steps(run)) for i, run in missing.items())
    counts = Counter((r.method, r.benchmark.name) for r in missing.values())
    for (method, benchmark), n in counts.items():
        seconds = [plan.seconds(r) for r in missing.values() if (r.method, r.benchmark.name) == (method, benchmark)]
        console.print(f"  {n:3d} × {method} on {benchmark}, {pretty(sum(seconds) / n)} each", highlight=False)
    device, joined = plan.device(), None if here else cluster_slots(plan.cluster)
    slots = 1 if here else slots_of(plan)
    estimate = work / max(1, min(slots, len(missing)))
    if device.type != "cpu":
        console.print(
            f"  at most {pretty(estimate)} on {device}: measured with two networks, more share a step", highlight=False
        )
        return estimate
    if joined and not joined[0]:
        line = f"  {pretty(work)} of work on a core of this machine; the cluster has no node for it yet"
        console.print(line, highlight=False)
        return estimate
    if joined and joined[1] == "gpu":
        gpus = "a GPU" if slots == 1 else f"{slots} GPUs, or shares of them"
        line = f"  {pretty(work)} of work for a core of this machine; the cluster trains on {gpus}, in less time"
        console.print(line, highlight=False)
        return estimate
    kind = ("core" if slots == 1 else "cores") if plan.cluster.cpus == 1 else f"slots of {plan.cluster.cpus} cores"
    whose = "of the cluster " if joined else ""
    line = f"  about {pretty(estimate)} on {slots} {kind} {whose}(measured on this machine: {pretty(work)} of work)"
    console.print(line, highlight=False)
    return estimate


def describe_to_come(plan: Plan, to_come: Sequence[tuple[Run, Run | None]]) -> None:
    """Print how much will be trained besides, when results have decided what; an estimate.

    Args:
        plan: Knows how long a run takes.
        to_come: Stand-ins for these runs, each with the run that it goes on from.
    """
    work = sum(plan.seconds(run) * (1 - (plan.steps(shorter) / plan.steps(run) if shorter else 0)) for run, shorter in to_come)
    console.print(
        f"  and then about {len(to_come)} more runs, which depend on the results of these: about "
        f"{pretty(work / slots_of(plan))} more, an estimate",
        highlight=False,
    )


def slots_of(plan: Plan) -> int:
    """Cohorts that train at the same time; on a cluster without a node yet, as many as on this machine."""
    joined = cluster_slots(plan.cluster)
    if joined and joined[0]:
        return joined[0]
    return cpu_slots(plan.cluster) if plan.device().type == "cpu" else 1


def cpu_slots(cluster: Cluster) -> int:
    """Cohorts that train at the same time on this machine, on the cores that this process may use."""
    return max(1, min(usable_cores() // cluster.cpus, cluster.most_cohorts()))


def pretty(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
