"""Where to train: a Ray cluster or this machine, on which device, and what of it a cohort takes."""

import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from presyn.errors import PresynError

if TYPE_CHECKING:  # options are read for help, which does not wait for torch
    import torch


class NodeError(PresynError):
    """Something that is wrong with a node and not with what it was to train: another node can do it."""


@dataclass(frozen=True)
class Cluster:
    """Where to train: a Ray cluster or this machine, and what of it a cohort takes. Each field is an option of the commands."""

    data: str | None = None
    """folder of the IDX files, from which other nodes get the images (PRESYN_DATA; default a cache folder, with download)"""
    device: str | None = None
    """cpu, cuda, … (PRESYN_DEVICE; default the GPUs that there are, and cores beside them where that is worth it)"""
    tf32: bool = False
    """let a GPU multiply in TF32, with 10 bits of mantissa: faster, less exact"""
    arithmetic: Literal["dense", "lit"] | None = None
    """whether the first layer multiplies by all pixels or by those that are not 0, which rounds in another way; rows say which
    (default: lit on a core where most pixels of a data set are 0, else dense)"""
    ray_address: str | None = None
    """a Ray cluster as host:port or auto, or local to start Ray here (RAY_ADDRESS; default one on this node, else local)"""
    cpus: int = 1
    """cores that a cohort takes; the same bits are promised for 1, because more threads add in another order"""
    cores: int | None = None
    """most cores that the command takes, here or on the cluster (default all that it may use)"""
    gpu_share: float = 1.0
    """share of a GPU that a cohort takes"""
    cohort: int | None = None
    """most members of a cohort (default: chosen)"""

    def __post_init__(self) -> None:
        if (self.ray_address or "").startswith("ray://"):
            raise PresynError(
                "Ray Client addresses (ray://) do not work: run presyn on a node of the cluster, with RAY_ADDRESS=auto."
            )
        if self.cohort is not None and self.cohort < 1:
            raise PresynError(f"--cohort must be at least 1, not {self.cohort}.")
        if self.cpus < 1:
            raise PresynError(f"--cpus must be at least 1, not {self.cpus}.")
        if self.cores is not None and self.cores < self.cpus:
            raise PresynError(
                f"--cores must be at least what a cohort takes (--cpus, {self.cpus}), not {self.cores}: no cohort would start."
            )
        if not 0 < self.gpu_share <= 1:
            raise PresynError(f"--gpu-share must be above 0 and at most 1, not {self.gpu_share}.")

    def kinds(self, gpus: float) -> tuple[str, ...]:
        """What cohorts train on in a cluster of so many GPUs: gpu, cpu, or both."""
        if self.device:
            return ("gpu",) if self.device.startswith("cuda") else ("cpu",)
        return ("gpu", "cpu") if gpus and self.arithmetic != "lit" else ("cpu",)

    def slots(self, kind: str, resources: Mapping[str, float]) -> int:
        """Cohorts of a kind that a node with these resources trains at the same time."""
        if kind == "cpu":
            return int(resources.get("CPU", 0) // self.cpus)
        # Ray puts a share of a GPU on one GPU. A cohort takes cores as well.
        shares = int(resources.get("GPU", 0)) * int(1 / self.gpu_share + 1e-9)
        return min(shares, int(resources.get("CPU", 0) // self.cpus))

    def most_cohorts(self) -> int:
        """Cohorts that the command trains at the same time at most, whatever the cluster has."""
        return sys.maxsize if self.cores is None else self.cores // self.cpus


def provenance_here(device: "torch.device", members: int) -> dict[str, Any]:
    """The provenance of a run that this process trains: where, and what is unusual there, such as a missing compiler.

    Args:
        device: Where it is trained.
        members: Runs of the cohort in which it is trained.
    """
    import torch

    from presyn.fuse import training_notes

    precision = ["tf32"] if device.type == "cuda" and torch.get_float32_matmul_precision() != "highest" else []
    threads = torch.get_num_threads()
    several = [f"{threads} threads"] if device.type == "cpu" and threads > 1 else []
    description = ", ".join([str(device), *precision, *several, *training_notes(device.type)])
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "host": socket.gethostname(),
        "device": description,
        "processor": processor,
        "cohort": members,
        "torch": str(torch.__version__),  # torch has a type of its own for it, which a checkpoint does not hold
    }


def prepare_process(cluster: Cluster, device_name: str | None = None) -> "torch.device":
    """Set this process's precision and share of the GPU; returns the device.

    Args:
        cluster: Where to train.
        device_name: In place of the cluster's.

    Raises:
        PresynError: there is no such device here.
    """
    import torch

    from presyn import choose_device

    torch.set_float32_matmul_precision("high" if cluster.tf32 else "highest")
    device = choose_device(device_name or cluster.device)
    if device.type == "cuda":
        try:
            torch.empty(1, device=device)
        except RuntimeError as e:
            raise PresynError(f"device {str(device)!r} is not usable here ({str(e).splitlines()[0]}).") from None
        if cluster.gpu_share < 1:
            torch.cuda.set_per_process_memory_fraction(cluster.gpu_share)
    return device


def describe_threads(cluster: Cluster) -> str:
    """What to say of the threads that a cohort takes; nothing where it takes one."""
    if cluster.cpus == 1:
        return ""
    return f"with --cpus {cluster.cpus} results on a CPU may differ in their last bits from those of one core; rows say so"


def new_session() -> str:
    """A name for a driver's session that sorts by time and is unique."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{socket.gethostname()}-{os.getpid()}"
