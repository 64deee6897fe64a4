"""Train what a plan lacks, show the progress, write every row to the store and hand it on."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.plan import Plan, console, pretty
from pipeline.records.row import Row
from presyn import Run, choose_device
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import new_session
from sweeps.cluster.find import find_cluster
from sweeps.cluster.ray_process import ray_process
from sweeps.execute import train_in_process, train_on_cluster
from sweeps.going_on import begin_longer_runs


def train(plan: Plan, write: Callable[[Row], None], title: str, here: bool = False) -> None:
    """Train what is missing and hand every row on.

    Args:
        plan: Its rows are completed.
        write: Receives each row, such as to write it to MLflow.
        title: Shown beside the progress.
        here: In this process, instead of on a Ray cluster.

    Raises:
        PresynError: something could not be trained; what was is in the store.
    """
    for row in plan.rows.values():
        write(row)
    missing = plan.missing
    if not missing:
        _remove_leftovers(plan)
        return
    _refuse(plan, here)
    checkpoints = replace(plan.store.session_checkpoints(new_session()), paused=frozenset(plan.paused))
    _begin_longer_runs(plan, missing, checkpoints)
    seconds = {} if here else {run.shape(): plan.seconds(run) for run in missing.values()}
    total = sum(plan.steps(run) for run in missing.values()) - sum(plan.steps_made().values())
    with _progress() as progress:
        watch = _Watch(plan, write, title, progress, total, missing)
        if here:
            train_in_process(missing, checkpoints, plan.cluster, watch.on_end, watch.on_steps)
        else:
            train_on_cluster(
                missing,
                checkpoints,
                plan.cluster,
                lambda run: seconds[run.shape()],
                watch.on_end,
                watch.on_steps,
                log=plan.store.root / "logs" / f"{checkpoints.session}.log",
                say=print_line,
            )
    # Only now: until the end, a restarted worker sees by its checkpoints who has ended.
    checkpoints.remove(*(plan.rows.keys() - plan.paused))
    checkpoints.close()


def _remove_leftovers(plan: Plan) -> None:
    """Remove the checkpoints of runs that are stored, which a command leaves that is stopped between the two."""
    checkpoints = plan.store.session_checkpoints()
    if isinstance(checkpoints.folder, Path):  # an object store is not asked where nothing is trained
        checkpoints.remove(*(plan.rows.keys() - plan.paused))
        checkpoints.close()


def _begin_longer_runs(plan: Plan, missing: dict[str, Run], checkpoints: Checkpoints) -> None:
    """Let runs go on from the ends of those on fewer tasks that left their state."""
    if plan.shorter.keys() & missing.keys():
        checkpoints.open()
        data = {i: missing[i].benchmark.load(plan.cluster.data) for i in plan.shorter.keys() & missing.keys()}
        begin_longer_runs(missing, plan.shorter, checkpoints, data)


def _refuse(plan: Plan, here: bool) -> None:
    """Refuse what cannot be trained before anything is: a network without the memory for it, a device that is not there."""
    plan.refuse_too_large(plan.missing.values())
    if here:
        choose_device(plan.cluster.device)


def print_line(line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def reach(plan: Plan) -> None:
    """Join the cluster if there is one and something to train, so that the plan tells how long it takes there."""
    if plan.missing and find_cluster(plan.cluster.ray_address):
        ray_process(plan.cluster, plan.store.root / "logs" / f"{new_session()}.log", print_line)


class _Watch:
    """What happens as runs come to an end and steps are made: store, MLflow, progress."""

    def __init__(
        self, plan: Plan, write: Callable[[Row], None], title: str, progress: Progress, total: int, missing: dict[str, Run]
    ) -> None:
        self.plan, self.write, self.title, self.progress, self.total = plan, write, title, progress, total
        self.missing = missing
        self.bar = progress.add_task(title, total=len(missing), left="…")
        self.began = self.last_line = time.monotonic()
        self.done = 0

    def on_steps(self, steps: int) -> None:
        self.done += steps
        left = pretty((time.monotonic() - self.began) * max(0, self.total - self.done) / self.done) if self.done else "…"
        self.progress.update(self.bar, left=left)
        if not console.is_terminal and time.monotonic() - self.last_line > 60:  # a log file sees a line a minute
            self.last_line = time.monotonic()
            console.print(f"{self.title}: {self.done / self.total:.0%}, {left} left", highlight=False)

    def on_end(self, run_id: str, record: dict[str, Any], place: dict[str, Any]) -> None:
        run = self.missing[run_id]
        row = self.plan.store.put(run_id, run, self.plan.sha256(run), record, place)
        self.plan.rows[run_id] = row
        self.write(row)
        self.progress.advance(self.bar)
        if row.status == "diverged":
            console.print(f"{run.method} on {run.benchmark.name} diverged: {row.record.reason}", highlight=False)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs,"),
        TimeElapsedColumn(),
        TextColumn("so far, {task.fields[left]} left"),
        console=console,
        transient=True,
    )
