"""Train runs in cohorts: with Ray Tune on whatever CPUs and GPUs a cluster has, or in this process.

Cohorts checkpoint after every segment and hand the runs that came to an end to this process, which alone writes results.
Starting again trains what is not finished.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from presyn import Benchmark, Dataset, PresynError, Run, make_schedule
from presyn.device import memory_needed
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, describe_threads, prepare_process, provenance_here
from sweeps.cluster.join import join_cluster
from sweeps.cluster.nodes import Setup, digest_code, store_images
from sweeps.driver import Driver, OnEnd, OnSteps
from sweeps.packing import MOST_ON_CPU, MOST_ON_GPU, Member, Size, pack
from sweeps.train_cohort import Ended, resume_run, train_members

Say = Callable[[str], None]
"""Prints a line for the user."""


def train_on_cluster(
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
        runs: Run id -> run.
        checkpoints: Where they go on from, and where to write.
        cluster: Where to train.
        seconds: How long a run takes, for packing.
        on_end: Called in this process for every run that ends, as soon as it does.
        on_steps: Called with the progress.
        log: A file for what Ray itself prints.
        say: Prints a line for the user.

    Raises:
        PresynError: a run could not be trained; the others have been, as far as they could.
        KeyboardInterrupt: stopped by the user; what is finished has been handed to `on_end`.
    """
    checkpoints.open()
    if line := describe_threads(cluster):
        say(line)
    missing = dict(runs)

    def end_run(run_id: str, record: dict[str, Any], provenance: dict[str, Any]) -> None:
        on_end(run_id, record, provenance)
        missing.pop(run_id)

    failed, missing_before = dict[str, str](), 0
    while (members := _resume(missing, checkpoints, end_run)) and len(missing) != missing_before:
        missing_before = len(missing)
        failed |= _drive(members, checkpoints, cluster, seconds, end_run, on_steps, log, say)
        missing = {i: run for i, run in missing.items() if i not in failed}
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
    """Join the cluster and train members once; returns run id -> why, of runs that could not be trained."""
    joined = join_cluster(cluster, log, say)
    datasets = {b: b.load(cluster.data) for b in {m.run.benchmark for m in members}}
    setup = Setup(checkpoints, cluster, digest_code(), store_images(datasets))
    return Driver(members, setup, _sizes(members, datasets, seconds), on_end, on_steps, say, joined).run()


def _sizes(members: list[Member], datasets: Mapping[Benchmark, Dataset], seconds: Callable[[Run], float]) -> dict[tuple, Size]:
    """Shape of a run -> what it takes."""
    sizes: dict[tuple, Size] = {}
    for run in (m.run for m in members):
        if run.shape() not in sizes:
            data = datasets[run.benchmark]
            schedule = make_schedule(run, data)
            steps = schedule.first_step(schedule.segments)
            sizes[run.shape()] = Size(seconds(run), schedule.segments, steps, memory_needed(run, data))
    return sizes


def train_in_process(
    runs: dict[str, Run], checkpoints: Checkpoints, cluster: Cluster, on_end: OnEnd, on_steps: OnSteps
) -> None:
    """Train runs in this process and without Ray, one cohort after the other; arguments and errors as of `train_on_cluster`."""
    threads, failed = torch.get_num_threads(), dict[str, str]()
    if line := describe_threads(cluster):
        print(f"presyn: {line}", file=sys.stderr)
    checkpoints.open()
    device = prepare_process(cluster)
    most = cluster.cohort or (MOST_ON_CPU if device.type == "cpu" else MOST_ON_GPU)
    torch.set_num_threads(cluster.cpus)
    try:
        for members in pack(_resume(runs, checkpoints, on_end), lambda run: 1.0, 1, most):

            def report(steps: int, ended: Ended, size: int = len(members)) -> tuple[()]:
                on_steps(steps)
                for run_id, record in ended:
                    on_end(run_id, record, provenance_here(device, size, cluster.tf32))
                return ()

            failed |= train_members(
                members,
                checkpoints,
                lambda benchmark: benchmark.load(cluster.data),
                device,
                report,
                cluster.gpu_share,
                cluster.arithmetic,
            )
    finally:
        torch.set_num_threads(threads)
    if failed:
        raise PresynError("Training failed: " + "; ".join(failed.values()))


def _resume(runs: dict[str, Run], checkpoints: Checkpoints, on_end: OnEnd) -> list[Member]:
    """Runs as members that go on from their checkpoints.

    Runs whose checkpoint is their end, as when a driver was killed before it stored the result, are ended instead.
    """
    members, index = [], checkpoints.index()
    for run_id, run in list(runs.items()):
        member, record = resume_run(run_id, run, checkpoints, index.get(run_id, ()))
        if record:
            on_end(run_id, record, {})
        else:
            members.append(member)
    return members
