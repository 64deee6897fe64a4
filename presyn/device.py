"""The device to train on, and what a run takes of it."""

import torch

from presyn.datasets import Dataset
from presyn.errors import PresynError
from presyn.methods import kind_of
from presyn.network import Network
from presyn.runs import Run

TEST_BATCH = 500  # test images that share one release mask per layer and sampled network
FLOATS_PER_WEIGHT = 12  # state, transmitted weight, gradient, and temporaries of an update that is not fused


def memory_of(run: Run, data: Dataset) -> int:
    """Bytes of device memory that a member of a cohort takes, estimated from above; the images are shared."""
    kind, tasks = kind_of(run.method), run.benchmark
    sizes = (data.train_x.shape[1], *tasks.hidden, tasks.classes(data))
    per_sample = 2 * (tasks.batch_size + TEST_BATCH) * sum(sizes)  # activities and their gradients, of a step and of a test
    per_weight = FLOATS_PER_WEIGHT * Network(sizes).n_weights
    order = 6 * 8 * len(data.train_y) * (tasks.tasks if kind.joint else 1)  # an epoch's order, and what sorting it takes
    return 4 * (per_sample + per_weight) * kind.traits_of(run.options).draws + order


def choose_device(name: str | None) -> torch.device:
    """The device of that name; without a name, cuda if there is one, else cpu.

    Raises:
        PresynError: there is no such device here.
    """
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise PresynError(f"device {name!r} is not usable here ({str(e).splitlines()[0]}). Try --device cpu.") from None
    return device
