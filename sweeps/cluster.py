"""Where to train: a Ray cluster or this machine, on which device, and what of it a cohort takes."""

import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from presyn import PresynError, choose_device


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
        if (self.address or "").startswith("ray://"):
            raise PresynError(
                "Ray Client addresses (ray://) do not work: run presyn on a node of the cluster, with RAY_ADDRESS=auto."
            )
        if self.max_members is not None and self.max_members < 1:
            raise PresynError(f"--cohort must be at least 1, not {self.max_members}.")
        if not 0 < self.gpu_share <= 1:
            raise PresynError(f"--gpu-share must be above 0 and at most 1, not {self.gpu_share}.")


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


def new_session() -> str:
    """A name for a driver's session that sorts by time and is unique."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{socket.gethostname()}-{os.getpid()}"


def quiet() -> None:
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


def start_ray(cluster: Cluster) -> None:
    import ray

    address = cluster.address
    place = f"at {address}" if address else "on this machine"
    failed = PresynError(f"Ray could not be reached or started {place}. Check RAY_ADDRESS (or --ray-address).")
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():  # Ray itself would try for minutes
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            raise failed from None
    root = str(Path(__file__).parent.parent)
    on_sigterm = signal.getsignal(signal.SIGTERM)
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
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end this process without a word
