"""Measure a training step: ours, its matrix products alone, and the loop one would write first, in the same run.

One core, published parameters, Permuted MNIST's shapes (100 × 784-200-200-10). Rounds of the three alternate, so that
they see the same machine; the figures are medians over rounds, after warm-up.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import transforms

from presyn import Cohort, Dataset, PresynError, load, make_run
from presyn.datasets import data_root
from presyn.methods.presynaptic import PresynapticOptions

SIZES = (1, 3, 8)
BATCH = 100


def data_or_noise() -> tuple[Dataset, str]:
    """MNIST if it is there, else noise of its shape: a step costs the same."""
    try:
        return load("mnist", data_root()), "MNIST"  # a named folder is not downloaded to
    except PresynError:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (60_000, 784), dtype=np.uint8), rng.integers(0, 10, 60_000)
        return Dataset("mnist", x, y, x[:10_000], y[:10_000], "noise"), "noise of MNIST's shape"


def our_step(cohort: Cohort) -> Callable[[], None]:
    """Steps of a cohort as its training loop makes them, ten at a call."""
    program = cohort.steps_of(0)
    program.load(0, 0)

    def steps() -> None:
        program.advance(10, measure_loss=False)  # as in nine epochs of ten

    return steps


def products(cohort: Cohort) -> Callable[[], None]:
    """The matrix products of ten steps and nothing else."""
    k, sizes = len(cohort.runs), cohort.network.sizes
    weights = cohort.network.layers(cohort.state["weights"])
    grads = cohort.network.layers(torch.empty_like(cohort.state["weights"]))
    activity = [torch.randn(k, BATCH, n) for n in sizes]

    def steps() -> None:
        for _ in range(10):
            for a, w in zip(activity, weights, strict=False):
                torch.bmm(a, w)
            for i in reversed(range(len(weights))):
                torch.bmm(activity[i].transpose(1, 2), activity[i + 1], out=grads[i])
                if i:
                    torch.bmm(activity[i + 1], weights[i].transpose(1, 2))

    return steps


class Stochastic(nn.Linear):
    """A layer of presynaptically stochastic synapses, as one would write it for one network."""

    p: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.bias.requires_grad_(False)
        self.register_buffer("p", torch.full_like(self.weight, 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, torch.bernoulli(self.p) * self.weight / self.p, self.bias)

    @torch.no_grad()
    def update(self, o: PresynapticOptions) -> None:
        g, p = self.weight.grad, self.p
        assert g is not None
        self.weight -= o.eta0 * (1 - p) * g
        step = torch.where(g.abs() >= o.g_lim, o.p_up, -o.p_down) * (1 - p)
        self.p = torch.where(p >= o.p_freeze, p, (p + step).clamp(o.p_min, 1))


class Images(torch.utils.data.Dataset):
    """Images through torchvision's transforms, as its own MNIST does it."""

    def __init__(self, data: Dataset) -> None:
        permutation = torch.randperm(784)
        self.data = data
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081), transforms.Lambda(lambda x: x.view(-1)[permutation])]
        )

    def __len__(self) -> int:
        return len(self.data.train_y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data.train_x[i].reshape(28, 28))), int(self.data.train_y[i])


def usual_loop(data: Dataset, o: PresynapticOptions) -> Callable[[], None]:
    """Ten steps of one network with nn.Module, autograd and a DataLoader."""
    layers = [Stochastic(784, 200), Stochastic(200, 200), Stochastic(200, 10)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    loader = DataLoader(Images(data), BATCH, shuffle=True, drop_last=True)

    def forever() -> Iterator:
        while True:
            yield from loader

    batches = forever()

    def steps() -> None:
        for _ in range(10):
            x, y = next(batches)
            model.zero_grad()
            cross_entropy(model(x), y).backward()
            for layer in layers:
                layer.update(o)

    return steps


def bench(quick: bool) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    console = Console()
    data, what = data_or_noise()
    cohorts = {
        k: Cohort([make_run("presynaptic", "permuted-mnist", s) for s in range(k)], data, torch.device("cpu")) for k in SIZES
    }
    networks = {("usual loop", 1): 1} | {(kind, k): k for k in SIZES for kind in ("presyn", "products alone")}
    work: dict[tuple[str, int], Callable[[], None]] = {("usual loop", 1): usual_loop(data, PresynapticOptions(eta0=0.01))}
    for k, cohort in cohorts.items():
        work |= {("presyn", k): our_step(cohort), ("products alone", k): products(cohort)}
    times: dict[tuple[str, int], list[float]] = {name: [] for name in work}
    with console.status("measuring …"):
        for steps in work.values():
            steps()
        for _ in range(5 if quick else 25):
            for name, steps in work.items():
                began = time.perf_counter()
                steps()
                times[name].append((time.perf_counter() - began) / 10 / networks[name] * 1e3)
    ms = {name: statistics.median(t) for name, t in times.items()}
    grid = Table(
        "networks",
        "presyn",
        "products alone",
        "ratio",
        "usual loop, one by one",
        "ratio",
        title="ms per step per network, one core",
    )
    for k in SIZES:
        ours, floor, usual = ms["presyn", k], ms["products alone", k], ms["usual loop", 1]
        grid.add_row(str(k), f"{ours:.2f}", f"{floor:.2f}", f"{ours / floor:.2f}", f"{usual:.2f}", f"1 / {usual / ours:.1f}")
    console.print(grid)
    console.print(
        f"torch {torch.__version__}, {what}, batch {BATCH}, 784-200-200-10, published parameters; medians", highlight=False
    )
