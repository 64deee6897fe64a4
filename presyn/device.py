"""The device to train on: which one, how much of it this process may use, and how much a run needs."""

import contextlib
import os
from pathlib import Path

import torch

from presyn.datasets import Dataset
from presyn.errors import PresynError
from presyn.methods import method_class
from presyn.network import Network
from presyn.runs import Run

TRAINS_ON = ("cpu", "cuda")
"""Kinds of devices on which runs were compared; mps, Apple's GPUs, is none of them."""
TEST_BATCH = 500  # test images that share one release mask per layer and sampled network
MOST_BYTES = 1 << 37
"""Memory of one network; more is a mistake rather than a wish."""
FLOATS_PER_WEIGHT = 12  # state, transmitted weight, gradient, and temporaries of an update that is not fused


def memory_needed(run: Run, data: Dataset) -> int:
    """Bytes of device memory that a member of a cohort takes, estimated from above; the images are shared."""
    method, tasks = method_class(run.method), run.benchmark
    sizes = (data.train_x.shape[1], *tasks.hidden, tasks.classes(data))
    activities = 2 * (tasks.batch_size + TEST_BATCH) * sum(sizes)  # and their gradients, of a step and of a test
    weights = FLOATS_PER_WEIGHT * Network(sizes).n_weights
    networks = method.make_traits(run.options).networks_per_transmission
    order = 6 * 8 * len(data.train_y) * (tasks.tasks if method.joint else 1)  # an epoch's order, and what sorting it takes
    return 4 * (activities + weights) * networks + order


def refuse_too_large(run: Run, data: Dataset, most: int = MOST_BYTES) -> None:
    """Raise a PresynError for a network that needs more bytes of memory than most; by default more than any machine has."""
    needed = memory_needed(run, data)
    if needed > most:
        raise PresynError(
            f"A network with hidden {list(run.benchmark.hidden)} and batch_size {run.benchmark.batch_size} on "
            f"{run.benchmark.name} would need about {needed / 2**30:,.0f} GiB of memory, more than the {most / 2**30:,.0f} GiB "
            "that there are: make its layers or its minibatches smaller."
        )


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, and by the limit of its control group, as containers have."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for limit in _control_group_limits():
        cores = min(cores, limit)
    return max(1, int(cores))


def _control_group_limits(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> list[float]:
    """Cores that the control groups of this process allow, versions 2 and 1; none where there are no groups."""
    limits = []
    with contextlib.suppress(OSError):
        for line in groups.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            base = root / "cpu" if controllers else root
            group = base / path.strip("/")
            for folder in (f for f in (group, *group.parents) if f.is_relative_to(base)):
                with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                    if controllers:
                        quota = [(folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")]
                    else:
                        quota = (folder / "cpu.max").read_text(encoding="utf-8").split()[:2]
                    if float(quota[0]) > 0:
                        limits.append(float(quota[0]) / float(quota[1]))
    return limits


MARGIN = 768 << 20
"""Bytes of a GPU that are left alone: for the contexts of processes, the libraries' workspaces, and fragments."""


def usable_bytes(free: int, total: int, reserved: int, allocated: int, share: float = 1.0) -> int:
    """Bytes of a GPU that a cohort of this process may take.

    Args:
        free: What no process holds now.
        total: What the GPU has.
        reserved: What torch holds for this process, in use or for later.
        allocated: What of that is in use.
        share: The share of the GPU that this process was given.
    """
    spare = reserved - allocated  # torch gives it to the next cohort
    return max(0, min(free + spare, int(share * total) - allocated) - MARGIN)


def usable_memory(device: torch.device, share: float = 1.0) -> int | None:
    """Bytes of a GPU that a cohort of this process may take now; None on a CPU, whose cohorts are small.

    It is asked before every cohort, because other processes on the GPU come and die.

    Args:
        device: The GPU.
        share: The share of it that this process was given.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return usable_bytes(free, total, torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device), share)


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; without a name, cuda if there is one, else cpu.

    Raises:
        PresynError: there is no such device here.
    """
    if isinstance(name, torch.device):
        name = str(name)
    if name is None or name == "":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not isinstance(name, str):
        raise PresynError(f"device must be a word such as cpu or cuda, not {name!r}.")
    try:
        device = torch.device(name)
        if device.type == "cuda" and torch.cuda.is_available():  # without a context, which would stay on a worker's GPU
            if (device.index or 0) >= torch.cuda.device_count():
                raise RuntimeError(f"there are {torch.cuda.device_count()} GPUs")
            if torch.cuda._is_in_bad_fork():
                raise RuntimeError("this process was forked from one that uses it: start it with spawn instead of fork")
            return device
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
        if device.type not in TRAINS_ON:
            raise RuntimeError(f"presyn trains on {' and '.join(TRAINS_ON)} alone")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise PresynError(f"device {name!r} is not usable here ({str(e).splitlines()[0]}). Try --device cpu.") from None
    return device
