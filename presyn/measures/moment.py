"""What a measurement sees: K networks after a segment, and their answers to the test images, which measurements share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from presyn.device import TEST_BATCH
from presyn.inputs import Inputs
from presyn.methods.base import Method, State
from presyn.minibatches import Minibatches
from presyn.network import Network
from presyn.random_numbers import Purpose, keys


@dataclass(frozen=True)
class Measurement:
    """Something to measure of a network.

    Attributes:
        measure: The function that measures: from a moment, figure -> values, (K,), or (K, n) for a short series.
        figures: The names of the figures that it gives.
        series: Those of them that are short series, such as one number for each layer.
        every: Whether it measures after every segment; else at the end alone.
        needs: Tensors of a method's state that it reads.
        tests: How long it takes, in tests of a task.
    """

    measure: Callable[["Moment"], dict[str, Tensor]]
    figures: tuple[str, ...]
    series: tuple[str, ...] = ()
    every: bool = False
    needs: tuple[str, ...] = ("weights", "biases")
    tests: float = 0.0


@dataclass(frozen=True)
class Moment:
    """K trained networks after a segment.

    Attributes:
        network, method, state, minibatches: Those of the cohort.
        segment: The segment that has just ended.
        last: Whether it is the last one.
        raised: Share of the steps of this segment in which each synapse was pushed to release more often, (K, n_weights); None
            unless it was counted.
    """

    network: Network
    method: Method
    state: State
    minibatches: Minibatches
    segment: int
    last: bool
    raised: Tensor | None = None

    @property
    def transmissions(self) -> int:
        """Transmissions to average: at the end as many as in a test, else at most the benchmark's `passes`."""
        in_a_test = self.method.traits.transmissions_per_test
        return in_a_test if self.last else min(in_a_test, self.minibatches.benchmark.passes)

    @cached_property
    def mean_weights(self) -> Tensor:
        """The strength that synapses have on average, w̄, (K, n_weights)."""
        return self.method.mean_weights(self.state)

    @cached_property
    def outputs(self) -> "Outputs":
        """How the networks answer to the test images of the current task."""
        return compute_outputs(self, self.state, self.transmissions)


@dataclass(frozen=True)
class Outputs:
    """Answers of K networks to test images, of C classes.

    Attributes:
        right: How many images get the right class by the softmax averaged over transmissions, (K,).
        tables: Reading -> (K, C, units), the sum of the outputs over the images of each class. As output counts the softmax of
            the first transmission (soft_one) or of the mean over all (soft_mean), or the most likely class of either, one-hot
            (hard_one, hard_mean).
        activity: Mean over transmissions and images of the sum of activities after ReLU, over all hidden layers, (K,).
        images: How many there are.
    """

    right: Tensor
    tables: dict[str, Tensor]
    activity: Tensor
    images: int


READINGS = ("soft_one", "hard_one", "soft_mean", "hard_mean")


def compute_outputs(moment: Moment, state: State, transmissions: int, purpose: Purpose = Purpose.MEASURE) -> Outputs:
    """The answers to all test images of the current task.

    Args:
        moment: The networks.
        state: In place of theirs, as after a lesion.
        transmissions: How many are averaged.
        purpose: Of the random numbers for the release masks.
    """
    m, k = moment.minibatches, len(moment.minibatches.seeds)
    task = m.schedule.task(moment.segment)
    images, pixel = m.test_images(task), m.pixel_index(task)
    right = torch.zeros(k, device=m.device)
    activity = torch.zeros(k, dtype=torch.float64, device=m.device)  # float64: no trace of the packing is left in the result
    tables = {name: torch.zeros(k, m.classes, m.classes, dtype=torch.float64, device=m.device) for name in READINGS}
    for batch, rows in enumerate(images.split(TEST_BATCH)):
        x = m.test.inputs(rows.expand(k, -1), pixel, moment.method.traits.networks_per_transmission)
        key = keys(m.seeds, purpose, moment.segment, batch, np.arange(transmissions)).to(m.device)
        first, mean = None, torch.zeros(k, len(rows), m.classes, device=m.device)
        for i in range(transmissions):
            p, active = _answer(moment, state, key[i], x)
            first = p if first is None else first
            mean += p / transmissions
            activity += active / transmissions
        y = m.test_y[rows]
        right += (mean.argmax(dim=-1) == y).float().sum(dim=-1)
        for name, values in (("one", first), ("mean", mean)):
            assert values is not None
            tables[f"soft_{name}"].index_add_(1, y, values.double())
            one_hot = torch.zeros_like(values).scatter_(2, values.argmax(2, keepdim=True), 1.0)
            tables[f"hard_{name}"].index_add_(1, y, one_hot.double())
    return Outputs(right, tables, (activity / len(images)).float(), len(images))


def _answer(moment: Moment, state: State, key: Tensor, x: Inputs) -> tuple[Tensor, Tensor]:
    """The answer of one transmission to a minibatch.

    Returns:
        The softmax, (K, B, units), and the activity summed over images, (K,); each the mean over sampled networks.
    """
    networks = moment.method.traits.networks_per_transmission
    weights, biases = moment.method.transmit(state, key)
    layers = moment.network.activities(weights, biases, x)
    p = layers[-1].softmax(dim=-1).unflatten(0, (-1, networks)).mean(dim=1)
    active = sum(layer.double().sum(dim=(1, 2)) for layer in layers[:-1])
    return p, active.unflatten(0, (-1, networks)).mean(dim=1)  # type: ignore[union-attr]
