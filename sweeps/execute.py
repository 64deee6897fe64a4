"""Train runs in cohorts with Ray Tune, on whatever CPUs and GPUs the cluster has.

A Tune trial trains one cohort: it checkpoints after every part and reports the runs that came to an end to the driver,
which alone writes results. Starting again is a fresh Tuner over what is not finished.
"""

import socket
from collections.abc import Callable
from typing import Any

import torch

from presyn import PresynError, Run
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, prepare, quiet, start_ray, where
from sweeps.packing import MOST_ON_CPU, Member, pack
from sweeps.worker import Ended, by_parts, standing, standings, train_members

MOST_ON_GPU = 256
RETRIES = 3  # of a cohort whose worker or machine died

OnEnd = Callable[[str, dict[str, Any], dict[str, Any]], None]
"""Called in the driver with the id of a run that came to an end, its record, and where it ran."""
OnSteps = Callable[[int], None]
"""Called in the driver with network steps that were made since the last call."""


def execute(
    runs: dict[str, Run],
    checkpoints: Checkpoints,
    cluster: Cluster,
    seconds: Callable[[Run], float],
    on_end: OnEnd,
    on_steps: OnSteps = lambda steps: None,
) -> None:
    """Train runs on a Ray cluster; returns when all have come to an end.

    Args:
        runs: run_id -> run.
        checkpoints: On a folder that all nodes share.
        cluster: Where.
        seconds: How long a run takes, for packing.
        on_end: Called in this process for every run that ends, as soon as it does.
        on_steps: Called with the progress.

    Raises:
        PresynError: a cohort could not be trained; the others have been, as far as they could.
        KeyboardInterrupt: stopped by the user; what is finished has been handed to `on_end`.
    """
    checkpoints.open()
    members = _going(runs, checkpoints, on_end)
    if members:
        _tune(members, checkpoints, cluster, seconds, on_end, on_steps)


def train_here(runs: dict[str, Run], checkpoints: Checkpoints, cluster: Cluster, on_end: OnEnd, on_steps: OnSteps) -> None:
    """As `execute`, in this process and without Ray, one cohort after the other."""
    cores = torch.get_num_threads()
    checkpoints.open()
    device = prepare(cluster)
    most = cluster.max_members or (MOST_ON_CPU if device.type == "cpu" else MOST_ON_GPU)
    for members in pack(_going(runs, checkpoints, on_end), lambda run: 1.0, 1, most):
        place = where(device, len(members), cluster.tf32)
        # Batched products are split between threads by network, which changes no bit; a single network gains nothing.
        torch.set_num_threads(min(cores, len(members)))

        def report(steps: int, ended: Ended, place: dict[str, Any] = place) -> None:
            on_steps(steps)
            for run_id, record in ended:
                on_end(run_id, record, place)

        train_members(members, checkpoints, cluster.data, device, report)


def _going(runs: dict[str, Run], checkpoints: Checkpoints, on_end: OnEnd) -> list[Member]:
    """Runs as members; those whose checkpoint is their end (a driver was killed before it stored the result) end here."""
    members = []
    for run_id, run in runs.items():
        member, record = standing(run_id, run, checkpoints)
        if record:
            on_end(run_id, record, {})
        else:
            members.append(member)
    return members


def _worker(config: dict[str, Any], cohorts: list[list[Member]], checkpoints: Checkpoints, cluster: Cluster) -> None:
    """The Tune trial."""
    from ray import tune

    cohort = cohorts[config["cohort"]]
    try:
        checkpoints.check_shared()
        torch.set_num_threads(cluster.cpus)
        device = prepare(cluster)
        place = where(device, len(cohort), cluster.tf32)

        def report(steps: int, ended: Ended) -> None:
            tune.report({"steps": steps, "ended": ended, "where": place, "error": ""})

        members, ended = standings(cohort, checkpoints)
        if ended:
            report(0, ended)
        for group in by_parts(members):
            train_members(group, checkpoints, cluster.data, device, report)
    except (PresynError, OSError) as e:  # another try would end the same way
        tune.report({"steps": 0, "ended": [], "where": {}, "error": f"{socket.gethostname()}: {e}"})


def _tune(
    members: list[Member],
    checkpoints: Checkpoints,
    cluster: Cluster,
    seconds: Callable[[Run], float],
    on_end: OnEnd,
    on_steps: OnSteps,
) -> None:
    quiet()
    import ray
    from ray.tune.error import TuneError

    if not ray.is_initialized():  # it stays for the stages that follow, and ends with this process
        start_ray(cluster)
    total = ray.cluster_resources()
    on_gpu = total.get("GPU", 0) > 0 and (cluster.device or "cuda").startswith("cuda")
    slots = int(total["GPU"] / cluster.gpu_share) if on_gpu else int(total.get("CPU", 1) / cluster.cpus)
    most = cluster.max_members or (MOST_ON_GPU if on_gpu else MOST_ON_CPU)
    cohorts = pack(members, seconds, max(1, slots), most)
    errors: list[str] = []
    fatal: list[PresynError] = []
    tuner = _tuner(cohorts, checkpoints, cluster, on_gpu, _sink(on_end, on_steps, errors, fatal))
    try:
        outcome = tuner.fit()
    except TuneError as e:
        raise (fatal[0] if fatal else PresynError(f"Ray Tune failed: {str(e).strip().splitlines()[-1]}")) from None
    errors += [str(e).strip().splitlines()[-1] for e in outcome.errors]
    if errors:
        raise PresynError("Training failed: " + "; ".join(dict.fromkeys(errors)))


def _tuner(cohorts: list[list[Member]], checkpoints: Checkpoints, cluster: Cluster, on_gpu: bool, sink: Any) -> Any:
    """A Tuner with a trial for each cohort. Its storage is scratch: what counts is in the checkpoints and the results."""
    from ray import tune

    scratch = checkpoints.folder / checkpoints.session / "tune"
    return tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_worker, cohorts=cohorts, checkpoints=checkpoints, cluster=cluster),
            {"cpu": cluster.cpus, "gpu": cluster.gpu_share if on_gpu else 0},
        ),
        param_space={"cohort": tune.grid_search(list(range(len(cohorts))))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name="cohorts",
            storage_path=str(scratch.resolve()),
            verbose=0,
            callbacks=[sink],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )


def _sink(on_end: OnEnd, on_steps: OnSteps, errors: list[str], fatal: list[PresynError]) -> Any:
    """What receives the reports of workers in the driver."""
    from ray import tune

    class Sink(tune.Callback):
        def __reduce__(self) -> tuple:  # Tune pickles callbacks for its restore, which is not used
            return tune.Callback, ()

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            try:
                for run_id, record in result["ended"]:
                    on_end(run_id, record, result["where"])
            except PresynError as e:  # such as a full disk; Tune would bury it in a page of traceback
                fatal.append(e)
                raise
            if result["error"]:
                errors.append(result["error"])
            on_steps(result["steps"])

    return Sink()
