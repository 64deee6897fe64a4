"""The device to train on, and what a run takes of it."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from presyn.datasets import Dataset
from presyn.errors import PresynError
from presyn.methods import kind_of
from presyn.network import Network
from presyn.runs import Run

TEST_BATCH = 500  # test images that share one release mask per layer and sampled network
MOST_BYTES = 1 << 37
"""Of a network; more is a mistake rather than a wish."""
FLOATS_PER_WEIGHT = 12  # state, transmitted weight, gradient, and temporaries of an update that is not fused


def memory_of(run: Run, data: Dataset) -> int:
    """Bytes of device memory that a member of a cohort takes, estimated from above; the images are shared."""
    kind, tasks = kind_of(run.method), run.benchmark
    sizes = (data.train_x.shape[1], *tasks.hidden, tasks.classes(data))
    per_sample = 2 * (tasks.batch_size + TEST_BATCH) * sum(sizes)  # activities and their gradients, of a step and of a test
    per_weight = FLOATS_PER_WEIGHT * Network(sizes).n_weights
    order = 6 * 8 * len(data.train_y) * (tasks.tasks if kind.joint else 1)  # an epoch's order, and what sorting it takes
    return 4 * (per_sample + per_weight) * kind.make_traits(run.options).networks_per_transmission + order


def refuse_mixed(runs: Sequence[Run], data: Dataset) -> None:
    """Raise a PresynError for what cannot be trained as one cohort on these images."""
    if not isinstance(data, Dataset):
        raise PresynError(f"A cohort takes images, as load reads them, not {data!r}.")
    if len({run.family() for run in runs}) != 1:
        raise PresynError("The runs of a cohort must share everything but seeds and varying options.")
    benchmark = runs[0].benchmark
    if data.name != benchmark.dataset:
        raise PresynError(f"{benchmark.name} is on {benchmark.dataset}, not on {data.name}: load('{benchmark.dataset}').")
    refuse_absurd(runs[0], data)


def memory_here() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def refuse_absurd(run: Run, data: Dataset, most: int = MOST_BYTES) -> None:
    """Raise a PresynError for a network that needs more memory than that, in bytes; by default than any machine has."""
    needed = memory_of(run, data)
    if needed > most:
        raise PresynError(
            f"A network with hidden {list(run.benchmark.hidden)} and batch_size {run.benchmark.batch_size} on "
            f"{run.benchmark.name} would need about {needed / 2**30:,.0f} GiB of memory, more than the {most / 2**30:,.0f} GiB "
            "that there are: make its layers or its minibatches smaller."
        )


def cores() -> int:
    """Cores that this process may use: by its affinity, and by the limit of its control group, as containers have."""
    allowed = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for limit in _group_limits():
        allowed = min(allowed, limit)
    return max(1, int(allowed))


def _group_limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[float]:
    """Cores that the control groups of this process allow, versions 2 and 1; none where there are no groups."""
    found = []
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            base = root / "cpu" if controllers else root
            places = [base / path.strip("/"), *(base / path.strip("/")).parents]
            for place in (p for p in places if p.is_relative_to(base)):
                with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                    if controllers:
                        quota = (place / "cpu.cfs_quota_us").read_text(), (place / "cpu.cfs_period_us").read_text()
                    else:
                        quota = (place / "cpu.max").read_text().split()[:2]  # type: ignore[assignment]
                    if float(quota[0]) > 0:
                        found.append(float(quota[0]) / float(quota[1]))
    return found


MARGIN = 768 << 20
"""Bytes of a GPU that are left alone: for the contexts of processes, the libraries' workspaces, and fragments."""


def usable(free: int, total: int, held: int, in_use: int, share: float = 1.0) -> int:
    """Bytes of a GPU that a cohort of this process may take.

    Args:
        free: What nobody holds now, other processes included.
        total: What the GPU has.
        held: What this process has taken from it, in use or kept by torch for later.
        in_use: Of that, what is in use.
        share: Of the GPU, which this process was given.
    """
    kept = held - in_use  # torch gives it to the next cohort
    return max(0, min(free + kept, int(share * total) - in_use) - MARGIN)


def usable_on(device: torch.device, share: float = 1.0) -> int | None:
    """The same, as it is now, so that it is true after a neighbour came or died; None on a CPU, whose cohorts are small."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return usable(free, total, torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device), share)


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; without a name, cuda if there is one, else cpu.

    Raises:
        PresynError: there is no such device here.
    """
    if isinstance(name, torch.device):
        name = str(name)
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(name, str):
        raise PresynError(f"device must be a word such as cpu or cuda, not {name!r}.")
    try:
        device = torch.device(name)
        if device.type == "cuda" and torch.cuda.is_available():  # without a context, which would stay on a worker's GPU
            if (device.index or 0) >= torch.cuda.device_count():
                raise RuntimeError(f"there are {torch.cuda.device_count()} GPUs")
            return device
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise PresynError(f"device {name!r} is not usable here ({str(e).splitlines()[0]}). Try --device cpu.") from None
    return device
