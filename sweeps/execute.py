"""Train runs in cohorts: with Ray Tune on whatever CPUs and GPUs a cluster has, or in this process.

Cohorts checkpoint after every part and hand the runs that came to an end to this process, which alone writes results.
Starting again trains what is not finished.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from presyn import PresynError, Run, Schedule
from presyn.device import memory_needed
from presyn.methods import method_class
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, prepare, where
from sweeps.cluster.join import join
from sweeps.cluster.nodes import Driver, Images, digest_code
from sweeps.driver import Drive, OnEnd, OnSteps
from sweeps.packing import MOST_ON_CPU, MOST_ON_GPU, Member, Size, pack
from sweeps.train_cohort import Ended, resume_run, train_members

Say = Callable[[str], None]


def execute(
    runs: dict[str, Run],
    checkpoints: Checkpoints,
    cluster: Cluster,
    seconds: Callable[[Run], float],
    on_end: OnEnd,
    on_steps: OnSteps,
    log: Path,
    say: Say,
) -> None:
    """Train runs on a Ray cluster; returns when all have come to an end.

    Args:
        runs: run_id -> run.
        checkpoints, cluster: Where.
        seconds: How long a run takes, for packing.
        on_end: Called in this process for every run that ends, as soon as it does.
        on_steps: Called with the progress.
        log, say: A file for Ray's own words, and what prints a line for the user.

    Raises:
        PresynError: a run could not be trained; the others have been, as far as they could.
        KeyboardInterrupt: stopped by the user; what is finished has been handed to `on_end`.
    """
    checkpoints.open()
    left = dict(runs)

    def end(run_id: str, record: dict[str, Any], place: dict[str, Any]) -> None:
        on_end(run_id, record, place)
        left.pop(run_id)

    failed, before = dict[str, str](), 0
    while (members := _going(left, checkpoints, end)) and len(left) != before:
        before = len(left)
        failed |= _drive(members, checkpoints, cluster, seconds, end, on_steps, log, say)
        left = {i: run for i, run in left.items() if i not in failed}
    if members:
        raise PresynError(f"{len(members)} runs came to no end, for a reason that Ray does not tell (see {log}).")
    if failed:
        raise PresynError("Training failed: " + "; ".join(dict.fromkeys(failed.values())))


def _drive(
    members: list[Member],
    checkpoints: Checkpoints,
    cluster: Cluster,
    seconds: Callable[[Run], float],
    on_end: OnEnd,
    on_steps: OnSteps,
    log: Path,
    say: Say,
) -> dict[str, str]:
    joined = join(cluster, log, say)
    datasets = {b: b.load(cluster.data) for b in {m.run.benchmark for m in members}}
    images = {d.sha256: Images.of(d) for d in datasets.values()}
    driver = Driver(checkpoints, cluster, digest_code(), {b: images[d.sha256] for b, d in datasets.items()})
    return Drive(members, driver, _sizes(members, datasets, seconds), on_end, on_steps, say, joined).run()


def _sizes(members: list[Member], datasets: Mapping[Any, Any], seconds: Callable[[Run], float]) -> dict[tuple, Size]:
    """Shape of a run -> what it takes."""
    sizes: dict[tuple, Size] = {}
    for run in (m.run for m in members):
        if run.shape() not in sizes:
            data = datasets[run.benchmark]
            schedule = Schedule.for_benchmark(run.benchmark, data, method_class(run.method).joint)
            steps = schedule.first_step(schedule.segments)
            sizes[run.shape()] = Size(seconds(run), schedule.segments, steps, memory_needed(run, data))
    return sizes


def train_in_process(runs: dict[str, Run], checkpoints: Checkpoints, cluster: Cluster, on_end: OnEnd, on_steps: OnSteps) -> None:
    """As `execute`, in this process and without Ray, one cohort after the other."""
    cores = torch.get_num_threads()
    checkpoints.open()
    device = prepare(cluster)
    most = cluster.max_members or (MOST_ON_CPU if device.type == "cpu" else MOST_ON_GPU)
    for members in pack(_going(runs, checkpoints, on_end), lambda run: 1.0, 1, most):
        # Batched products are split between threads by network, which changes no bit; a single network gains nothing.
        torch.set_num_threads(min(cores, len(members)))

        def report(steps: int, ended: Ended, size: int = len(members)) -> tuple[()]:
            on_steps(steps)
            for run_id, record in ended:
                on_end(run_id, record, where(device, size, cluster.tf32))
            return ()

        train_members(members, checkpoints, lambda benchmark: benchmark.load(cluster.data), device, report, cluster.gpu_share)


def _going(runs: dict[str, Run], checkpoints: Checkpoints, on_end: OnEnd) -> list[Member]:
    """Runs as members; those whose checkpoint is their end (a driver was killed before it stored the result) end here."""
    members, index = [], checkpoints.index()
    for run_id, run in list(runs.items()):
        member, record = resume_run(run_id, run, checkpoints, index.get(run_id, ()))
        if record:
            on_end(run_id, record, {})
        else:
            members.append(member)
    return members
