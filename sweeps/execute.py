"""Train runs in cohorts: with Ray Tune on whatever CPUs and GPUs a cluster has, or in this process.

Cohorts checkpoint after every segment and hand the runs that came to an end to this process, which alone writes results.
Starting again trains what is not finished.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from presyn import PresynError, Run, make_schedule
from presyn.device import memory_needed
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, describe_threads, prepare_process
from sweeps.cluster.ray_process import RayLost, ray_process
from sweeps.packing import MOST_ON_CPU, MOST_ON_GPU, Member, Size, pack
from sweeps.train_cohort import Ended, resume_run, train_members
from sweeps.user_code import loaded, send_by_value

OnEnd = Callable[[str, dict[str, Any], dict[str, Any]], None]
"""Called with the id of a run that came to an end, its record, and where it ran."""
OnSteps = Callable[[int], None]
"""Called with network steps that were made since the last call."""
Say = Callable[[str], None]
"""Prints a line for the user."""
PAUSES = (1.0, 5.0, 20.0)
"""Seconds before Ray is tried again, after it ended so many times with nothing trained in between."""


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

    def heard(kind: str, content: Any) -> None:
        if kind == "ended":
            end_run(*content)
        elif kind == "steps":
            on_steps(content)
        else:
            say(content)

    failed, position, stuck = dict[str, str](), (-len(missing) - 1, 0), 0
    while members := _resume(missing, checkpoints, end_run):
        position_before, position = position, (-len(missing), sum(m.segments for m in members))
        stuck = 0 if position > position_before else stuck + 1
        ray = ray_process(cluster, log, say)
        send_by_value()
        work = {
            "members": members,
            "checkpoints": checkpoints,
            "cluster": cluster,
            "sizes": _sizes(members, cluster, seconds),
            "joined": ray.place is not None,
            "methods": dict(loaded.methods),
        }
        try:
            failed |= ray.train(work, heard)
            reason = "for a reason that Ray does not tell"
        except RayLost as e:
            reason = str(e)
            if stuck < len(PAUSES):
                say(f"{reason}. What it trained goes on from its checkpoints.")
        missing = {i: run for i, run in missing.items() if i not in failed}
        if missing and stuck >= len(PAUSES):
            raise PresynError(f"{len(missing)} runs came to no end: {reason}. The same command goes on where they are.")
        if missing:
            time.sleep(PAUSES[stuck])
    if failed:
        raise PresynError("Training failed: " + "; ".join(dict.fromkeys(failed.values())))


def _sizes(members: list[Member], cluster: Cluster, seconds: Callable[[Run], float]) -> dict[tuple, Size]:
    """Shape of a run -> what it takes."""
    sizes: dict[tuple, Size] = {}
    for run in (m.run for m in members):
        if run.shape() not in sizes:
            data = run.benchmark.load(cluster.data)
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

            def report(steps: int, ended: Ended) -> tuple[()]:
                on_steps(steps)
                for end in ended:
                    on_end(*end)
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
        member, end = resume_run(run_id, run, checkpoints, index.get(run_id, ()))
        if end:
            on_end(run_id, *end)
        else:
            members.append(member)
    return members
