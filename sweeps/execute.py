"""Train runs in cohorts with Ray Tune, on whatever CPUs and GPUs the cluster has.

A Tune trial trains one cohort: it checkpoints after every part and reports the runs that came to an end to the driver,
which alone writes results. Starting again is a fresh Tuner over what is not finished.
"""

import gc
import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from presyn import Cohort, PresynError, Run, choose_device
from presyn.device import memory_of
from sweeps.checkpoints import Checkpoints, parts_of, read
from sweeps.packing import MOST_ON_CPU, Member, pack

MOST_ON_GPU = 256
RETRIES = 3  # of a cohort whose worker or machine died

OnEnd = Callable[[str, dict[str, Any], dict[str, Any]], None]
"""Called in the driver with the id of a run that came to an end, its record, and where it ran."""
Ended = list[tuple[str, dict[str, Any]]]
"""Run ids and records of runs that came to an end."""
OnSteps = Callable[[int], None]
"""Called in the driver with network steps that were made since the last call."""


@dataclass(frozen=True)
class Cluster:
    """Where to train.

    Attributes:
        data: The data folder, the same on every node; None for the default.
        device: As in `choose_device`; None chooses cuda if the cluster has a GPU.
        gpu_share: Of a GPU that a cohort takes.
        cpus: Cores that a cohort takes.
        max_members: Members of a cohort; None chooses.
        tf32: Whether a GPU multiplies in TF32 (10 bits of mantissa): faster, less exact.
        address: Of a Ray cluster; None starts a local one.
    """

    data: str | None = None
    device: str | None = None
    gpu_share: float = 1.0
    cpus: int = 1
    max_members: int | None = None
    tf32: bool = False
    address: str | None = None

    def __post_init__(self) -> None:
        if (self.remote or "").startswith("ray://"):
            raise PresynError(
                "Ray Client addresses (ray://) do not work: run presyn on a node of the cluster, with RAY_ADDRESS=auto."
            )

    @property
    def remote(self) -> str | None:
        """The address of the Ray cluster to join, by the argument or by $RAY_ADDRESS; None starts a local one."""
        return self.address or os.environ.get("RAY_ADDRESS") or None


def where(device: torch.device, members: int, tf32: bool) -> dict[str, Any]:
    """The provenance of a run that this process trains."""
    precision = ", tf32" if tf32 and device.type == "cuda" else ""
    return {"host": socket.gethostname(), "device": f"{device}{precision}", "cohort": members, "torch": torch.__version__}


def prepare(cluster: Cluster) -> torch.device:
    """Set this process's precision and share of the GPU; returns the device.

    Raises:
        PresynError: there is no such device here.
    """
    torch.set_float32_matmul_precision("high" if cluster.tf32 else "highest")
    device = choose_device(cluster.device)
    if device.type == "cuda" and cluster.gpu_share < 1:
        torch.cuda.set_per_process_memory_fraction(cluster.gpu_share)
    return device


def standing(run_id: str, run: Run, checkpoints: Checkpoints) -> tuple[Member, dict[str, Any] | None]:
    """A run as a member that goes on from its newest readable checkpoint; and its record if that one is its end."""
    for path in checkpoints.paths(run_id):
        saved = read(path)
        if saved is not None:
            ended = saved["record"] if saved["state"] is None else None
            return Member(run_id, run, path, parts_of(path)), ended
    return Member(run_id, run), None


def train_members(
    members: Sequence[Member],
    checkpoints: Checkpoints,
    data: str | None,
    device: torch.device,
    report: Callable[[int, Ended], None],
) -> None:
    """Train one cohort to its end, checkpointing after each part; what a worker does, and `presyn run` in its own process.

    Args:
        members: All of one shape and standing.
        checkpoints: Where to write.
        data: The data folder.
        device: Where to train.
        report: Called with the network steps since the last call, and the records of the runs that ended since.

    A cohort that runs out of the device's memory goes on from its checkpoints in two halves.

    Raises:
        PresynError: not even one network fits.
    """
    reported: set[str] = set()

    def once(steps: int, ended: Ended) -> None:
        report(steps, [(run_id, record) for run_id, record in ended if run_id not in reported])
        reported.update(run_id for run_id, _ in ended)

    waiting = _that_fit(members, data, device)
    while waiting:
        group = waiting.pop()
        if _train_group(group, checkpoints, data, device, once):
            continue
        if len(group) == 1:
            raise PresynError(f"one network of {group[0].run.benchmark.name} does not fit into the memory of {device}.")
        gc.collect()
        torch.cuda.empty_cache()
        going, ended = _standings(group, checkpoints)
        once(0, ended)
        for same in _by_parts(going):
            half = (len(same) + 1) // 2
            waiting += [g for g in (same[half:], same[:half]) if g]


def _train_group(
    members: Sequence[Member],
    checkpoints: Checkpoints,
    data: str | None,
    device: torch.device,
    report: Callable[[int, Ended], None],
) -> bool:
    """Train members to their end as one program; False if the device has not enough memory for that."""
    saved = [read(m.checkpoint) for m in members if m.checkpoint]
    ids = {id(m.run): m.run_id for m in members}
    kept: set[str] = set()  # whose end is in a checkpoint
    try:
        cohort = Cohort([m.run for m in members], members[0].run.benchmark.load(data), device, saved or None)  # type: ignore[arg-type]
        while not cohort.done:
            cohort.train_part(lambda steps: report(steps * len(cohort.runs), []))
            ended = {ids[id(run)]: record.as_dict() for run, record in cohort.results()}
            for run, state in zip(cohort.runs, cohort.save(), strict=True):
                if ids[id(run)] not in ended:
                    checkpoints.save(ids[id(run)], state)
                elif run.benchmark.keep:
                    checkpoints.keep(ids[id(run)], state["state"])
            for run_id in ended.keys() - kept:
                checkpoints.save(run_id, {"record": ended[run_id], "state": None})
            kept |= ended.keys()
            report(0, list(ended.items()))
    except torch.OutOfMemoryError:
        return False
    return True


def _that_fit(members: Sequence[Member], data: str | None, device: torch.device) -> list[list[Member]]:
    """The members in groups that the device's free memory holds, by an estimate; what that misjudges is halved later."""
    free = _free_memory(device)
    if free is None:
        return [list(members)]
    run = members[0].run
    most = max(1, free // memory_of(run, run.benchmark.load(data)))
    return [list(members[i : i + most]) for i in range(0, len(members), most)]


def _free_memory(device: torch.device) -> int | None:
    """Bytes; None on a CPU, whose cohorts are small."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


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

        members, ended = _standings(cohort, checkpoints)
        if ended:
            report(0, ended)
        for group in _by_parts(members):
            train_members(group, checkpoints, cluster.data, device, report)
    except (PresynError, OSError) as e:  # another try would end the same way
        tune.report({"steps": 0, "ended": [], "where": {}, "error": f"{socket.gethostname()}: {e}"})


def _standings(members: list[Member], checkpoints: Checkpoints) -> tuple[list[Member], Ended]:
    """Where a cohort stands now (a worker of it may have died): members to go on with, and records of those that ended."""
    going: list[Member] = []
    ended: Ended = []
    for m in members:
        member, record = standing(m.run_id, m.run, checkpoints)
        if record:
            ended.append((m.run_id, record))
        else:
            going.append(member)
    return going, ended


def _by_parts(members: list[Member]) -> list[list[Member]]:
    return [[m for m in members if m.parts == n] for n in sorted({m.parts for m in members})]


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


def _tune(
    members: list[Member],
    checkpoints: Checkpoints,
    cluster: Cluster,
    seconds: Callable[[Run], float],
    on_end: OnEnd,
    on_steps: OnSteps,
) -> None:
    _quiet()
    import ray
    from ray import tune
    from ray.tune.error import TuneError

    if not ray.is_initialized():  # it stays for the stages that follow, and ends with this process
        _start_ray(cluster)
    total = ray.cluster_resources()
    on_gpu = total.get("GPU", 0) > 0 and (cluster.device or "cuda").startswith("cuda")
    slots = int(total["GPU"] / cluster.gpu_share) if on_gpu else int(total.get("CPU", 1) / cluster.cpus)
    most = cluster.max_members or (MOST_ON_GPU if on_gpu else MOST_ON_CPU)
    cohorts = pack(members, seconds, max(1, slots), most)
    errors: list[str] = []
    fatal: list[PresynError] = []

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

    # The storage of Tune itself is scratch: the state that counts is in the checkpoints and the results.
    scratch = checkpoints.folder / checkpoints.session / "tune"
    tuner = tune.Tuner(
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
            callbacks=[Sink()],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )
    try:
        outcome = tuner.fit()
    except TuneError as e:
        raise (fatal[0] if fatal else PresynError(f"Ray Tune failed: {str(e).strip().splitlines()[-1]}")) from None
    errors += [str(e).strip().splitlines()[-1] for e in outcome.errors]
    if errors:
        raise PresynError("Training failed: " + "; ".join(dict.fromkeys(errors)))


def _quiet() -> None:
    """Ray prints a page by default; only what matters stays. Ctrl-C becomes KeyboardInterrupt, as everywhere else."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints a box even when silent
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _start_ray(cluster: Cluster) -> None:
    import ray

    address = cluster.remote
    place = f"at {address}" if address else "on this machine"
    failed = PresynError(f"Ray could not be reached or started {place}. Check RAY_ADDRESS (or --ray-address).")
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():  # Ray itself would try for minutes
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            raise failed from None
    root = str(Path(__file__).parent.parent)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}},
        )
    except (ConnectionError, RuntimeError, OSError, ValueError) as e:
        print(e, file=sys.stderr)
        raise failed from None


def new_session() -> str:
    """A name for a driver's session that sorts by time and is unique."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{socket.gethostname()}-{os.getpid()}"
