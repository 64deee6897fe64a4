"""What a measurement sees: K networks as they stand after a part, and one pass over the test images that measurements share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from presyn.device import TEST_BATCH
from presyn.streams import Purpose, keys

if TYPE_CHECKING:
    from presyn.methods.base import Method, State
    from presyn.network import Network
    from presyn.stream import Stream


@dataclass(frozen=True)
class Measurement:
    """Something to measure of a network.

    Attributes:
        measure: Of a moment, name -> values: (K,), or (K, n) for a short series.
        every: Whether after every part; else at the end alone.
        needs: Tensors of a method's state that it reads.
        figures: The names that it gives.
        tests: Tests of a task that take as long.
    """

    measure: Callable[["Moment"], dict[str, Tensor]]
    figures: tuple[str, ...]
    every: bool = False
    needs: tuple[str, ...] = ("weights", "biases")
    tests: float = 0.0


@dataclass(frozen=True)
class Moment:
    """K trained networks after a part.

    Attributes:
        network, method, state, stream: Of the cohort.
        part: The part that has just ended.
        last: Whether it is the last one.
        raised: Share of the steps of this part in which each synapse was pushed to release more often, (K, n_weights); None
            unless it was counted.
    """

    network: "Network"
    method: "Method"
    state: "State"
    stream: "Stream"
    part: int
    last: bool
    raised: Tensor | None = None

    @property
    def passes(self) -> int:
        """Sampled networks to average: those of a test at the end, else the benchmark's passes; 1 of a deterministic one."""
        most = self.method.traits.transmissions_per_test
        return most if self.last else min(most, self.stream.benchmark.passes)

    @cached_property
    def outputs(self) -> "Outputs":
        """How the networks answer to the test images of the current task."""
        return outputs(self, self.state, self.passes)


@dataclass(frozen=True)
class Outputs:
    """Answers of K networks to test images, of C classes.

    Attributes:
        right: Images of which the softmax averaged over passes names the class, (K,).
        tables: reading -> (K, C, units): the sum, over the images of each class, of what the network says: the softmax of the
            first pass (soft_one), its most likely class as one-hot (hard_one), and the same of the mean over passes.
        activity: Mean over passes and images of the sum of activities after ReLU, over all hidden layers, (K,).
        images: How many there are.
    """

    right: Tensor
    tables: dict[str, Tensor]
    activity: Tensor
    images: int


def outputs(at: Moment, state: "State", passes: int, purpose: Purpose = Purpose.MEASURE) -> Outputs:
    """Show all test images of the current task to networks with this state, by so many sampled networks each."""
    from presyn.stream import inputs  # a stream is made from a benchmark, which names the measurements

    s, k = at.stream, len(at.stream.seeds)
    task = s.schedule.task_of(at.part)
    images, pixel = s.test_images(task), s.pixel_index(task)
    right = torch.zeros(k, device=s.device)
    activity = torch.zeros(k, dtype=torch.float64, device=s.device)  # float64: no trace of the packing is left in the result
    readings = ("soft_one", "hard_one", "soft_mean", "hard_mean")
    tables = {name: torch.zeros(k, s.classes, s.classes, dtype=torch.float64, device=s.device) for name in readings}
    for batch, rows in enumerate(images.split(TEST_BATCH)):
        x = inputs(s.test_x, rows.expand(k, -1), pixel, s.scale, s.offset)
        key = keys(s.seeds, purpose, at.part, batch, np.arange(passes)).to(s.device)
        first, mean = None, torch.zeros(k, len(rows), s.classes, device=s.device)
        for i in range(passes):
            p, active = _answer(at, state, key[i], x)
            first = p if first is None else first
            mean += p / passes
            activity += active / passes
        y = s.test_y[rows]
        right += (mean.argmax(dim=-1) == y).float().sum(dim=-1)
        for name, values in (("one", first), ("mean", mean)):
            assert values is not None
            tables[f"soft_{name}"].index_add_(1, y, values.double())
            most = torch.zeros_like(values).scatter_(2, values.argmax(2, keepdim=True), 1.0)
            tables[f"hard_{name}"].index_add_(1, y, most.double())
    return Outputs(right, tables, (activity / len(images)).float(), len(images))


def _answer(at: Moment, state: "State", key: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax (K, B, units) and the activity of a minibatch, summed over its images, (K,), of one transmission."""
    draws = at.method.traits.networks_per_transmission
    weights, biases = at.method.transmit(state, key)
    layers = at.network.activities(weights, biases, x if draws == 1 else x.repeat_interleave(draws, dim=0))
    p = layers[-1].softmax(dim=-1).unflatten(0, (-1, draws)).mean(dim=1)
    active = sum(layer.double().sum(dim=(1, 2)) for layer in layers[1:-1])
    return p, active.unflatten(0, (-1, draws)).mean(dim=1)  # type: ignore[union-attr]
