"""Turn wanted runs into rows: read what is in the store, plan and train the rest, show progress, write MLflow."""

import json
import os
import shutil
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.store import Row, Store
from pipeline.tracking import Tracker
from presyn import Cohort, PresynError, Run, choose_device
from sweeps.checkpoints import Checkpoints
from sweeps.execute import Cluster, execute, new_session, train_here

console = Console(stderr=True)  # plans, progress and messages; results go to stdout
out = Console()


@dataclass
class Plan:
    """The runs a stage needs, and what is known of them.

    Attributes:
        store: Where results are.
        cluster: Where to train.
        runs: run_id -> run, in the order they were asked for.
        rows: run_id -> row, of those that are in the store.
    """

    store: Store
    cluster: Cluster
    runs: dict[str, Run] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    _sizes: dict[tuple, tuple[int, int]] = field(default_factory=dict)

    def add(self, run: Run) -> str:
        """Add a run; returns its id. Raises PresynError when its data cannot be had."""
        run_id = run.run_id(self.sha256(run))
        if run_id not in self.runs:
            self.runs[run_id] = run
            row = self.store.get(run_id)
            if row:
                self.rows[run_id] = row
        return run_id

    def sha256(self, run: Run) -> str:
        return run.benchmark.load(self.cluster.data).sha256

    @property
    def missing(self) -> dict[str, Run]:
        return {i: r for i, r in self.runs.items() if i not in self.rows}

    def seconds(self, run: Run) -> float:
        """How long a run takes on one core (or GPU) of this machine, measured on a few steps and remembered."""
        name, options = run.shape()[0], run.shape()[2]
        tasks = run.benchmark
        device = self.device()
        shape = [name, tasks.dataset, tasks.kind, tasks.hidden, tasks.batch_size, options, socket.gethostname(), str(device)]
        key = json.dumps([*shape, torch.__version__], default=list)
        known = self._timings()
        if key not in known:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                known[key] = Cohort([run] * 2, tasks.load(self.cluster.data), device).measure()
            finally:
                torch.set_num_threads(threads)
            self.store.write(self.store.root / "timings.json", json.dumps(known))
        step, image = known[key]
        steps, images = self.work(run)
        return step * steps + image * images

    def device(self) -> torch.device:
        """Where steps are measured: the device to train on, or the CPU when only other nodes of a Ray cluster have that one."""
        try:
            return choose_device(self.cluster.device)
        except PresynError:
            if self.cluster.remote:
                return torch.device("cpu")
            raise

    def _timings(self) -> dict[str, Any]:
        try:
            return json.loads((self.store.root / "timings.json").read_text())
        except (OSError, ValueError):
            return {}

    def work(self, run: Run) -> tuple[int, int]:
        """Steps and test images of a run."""
        if run.shape() not in self._sizes:
            cohort = Cohort([run], run.benchmark.load(self.cluster.data), torch.device("cpu"))
            self._sizes[run.shape()] = cohort.schedule.first_step(cohort.parts), cohort.schedule.images_tested()
        return self._sizes[run.shape()]


def describe(plan: Plan, title: str) -> float:
    """Print what will run and for how long; returns the estimate in seconds."""
    missing = plan.missing
    console.print(
        f"[bold]{title}[/]: {len(plan.runs)} runs, {len(plan.rows)} in the store, {len(missing)} to train", highlight=False
    )
    if not missing:
        return 0.0
    with console.status("measuring a few steps of each kind …"):
        work = sum(plan.seconds(r) for r in missing.values())
    counts = Counter((r.method, r.benchmark.name) for r in missing.values())
    for (method, benchmark), n in counts.items():
        of_kind = [plan.seconds(r) for r in missing.values() if (r.method, r.benchmark.name) == (method, benchmark)]
        console.print(f"  {n:3d} × {method} on {benchmark}, {pretty(sum(of_kind) / n)} each", highlight=False)
    device, slots = plan.device(), cpu_slots(plan.cluster)
    if device.type != "cpu":
        console.print(f"  at most {pretty(work)} on {device}: measured with two networks, more share a step", highlight=False)
        return work
    estimate = work / max(1, min(slots, len(missing)))
    console.print(
        f"  about {pretty(estimate)} on {slots} cores (measured on this machine: {pretty(work)} of work)", highlight=False
    )
    return estimate


def cpu_slots(cluster: Cluster) -> int:
    """Cohorts that train at the same time on this machine."""
    return max(1, (os.cpu_count() or 1) // cluster.cpus)


def pretty(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def train(plan: Plan, tracker: Tracker, title: str, here: bool = False) -> None:
    """Train what is missing and project every row to MLflow.

    Args:
        plan: Its rows are completed.
        tracker: Receives each row.
        title: Shown beside the progress.
        here: In this process, instead of on a Ray cluster.

    Raises:
        PresynError: something could not be trained; what was is in the store.
    """
    for row in plan.rows.values():
        tracker.write(row)
    missing = plan.missing
    if not missing:
        return
    checkpoints = Checkpoints(plan.store.checkpoints, new_session())
    seconds = {} if here else {run.shape(): plan.seconds(run) for run in missing.values()}
    if here:
        choose_device(plan.cluster.device)
    total = sum(plan.work(run)[0] for run in missing.values())  # with the device, all that can be refused is refused here
    with _progress() as progress:
        bar = progress.add_task(title, total=len(missing), left="…")
        began = said = time.time()
        done = 0

        def on_steps(steps: int) -> None:
            nonlocal done, said
            done += steps
            left = pretty((time.time() - began) * max(0, total - done) / done) if done else "…"
            progress.update(bar, left=left)
            if not console.is_terminal and time.time() - said > 60:  # a log file sees a line a minute
                said = time.time()
                console.print(f"{title}: {done / total:.0%}, {left} left", highlight=False)

        def on_end(run_id: str, record: dict[str, Any], place: dict[str, Any]) -> None:
            run = missing[run_id]
            row = plan.store.put(run_id, run, plan.sha256(run), record, place)
            plan.rows[run_id] = row
            tracker.write(row)
            progress.advance(bar)
            if record["status"] == "diverged":
                console.print(f"{run.method} on {run.benchmark.name} diverged: {record['reason']}", highlight=False)

        if here:
            train_here(missing, checkpoints, plan.cluster, on_end, on_steps)
        else:
            execute(missing, checkpoints, plan.cluster, lambda run: seconds[run.shape()], on_end, on_steps)
    # Only now: until the end, a restarted worker sees by its checkpoints who has ended.
    for run_id in plan.rows:
        checkpoints.remove(run_id)
    shutil.rmtree(checkpoints.folder / checkpoints.session, ignore_errors=True)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs,"),
        TimeElapsedColumn(),
        TextColumn("so far, {task.fields[left]} left"),
        console=console,
        transient=True,
    )
