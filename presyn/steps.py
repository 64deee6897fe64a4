"""The training steps of a segment as one program on fixed buffers; on a GPU one captured graph, replayed for every step."""

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from presyn.fuse import fused
from presyn.graph import ReplayedFunction, weak_method
from presyn.inputs import DenseImages, DenseInputs, Inputs, LitImages, LitInputs, make_inputs
from presyn.methods.base import Method, State
from presyn.minibatches import EpochOrder, Minibatches, copy_to_device
from presyn.network import Backprop, Network
from presyn.random_numbers import Purpose, keys

STEPS_AHEAD = 16
"""Minibatches whose lit pixels are sorted together: fewer calls for each, and what they make still fits a core's cache."""


class DenseReader:
    """Reads the minibatches of a loaded epoch into buffers that stay where they are.

    Args:
        minibatches: What the K members see.
        task: The task of all images, where permutations do not mix in a minibatch.
        networks: Sampled networks of each member, S.
        fuse: Whether to compile the arithmetic.
    """

    def __init__(self, minibatches: Minibatches, task: int, networks: int, fuse: bool) -> None:
        members, batch = len(minibatches.seeds), minibatches.benchmark.batch_size
        self.minibatches, self._networks = minibatches, networks
        self._index = minibatches.pixel_index(task)
        # Images of the epoch and, where permutations mix, their tasks, (S, K, B).
        self._images: Tensor | None = None
        self._tasks: Tensor | None = None
        self._x = torch.empty(members * networks, batch, minibatches.pixels, device=minibatches.device)
        # The inputs of each member; where it has several sampled networks, all of them see the same ones.
        self._member_x = self._x if networks == 1 else self._x.new_empty(members, *self._x.shape[1:])
        self._write = fused(_write_inputs, fuse, minibatches.device)

    def load(self, order: EpochOrder) -> None:
        """Begin an epoch."""
        self._images = _fill(self._images, order.images)
        if isinstance(order.tasks, Tensor):
            self._tasks = _fill(self._tasks, order.tasks)

    def read(self, position: Tensor) -> tuple[Inputs, Tensor]:
        """Inputs of the K·S networks, and rows of the images, (K, B), of the minibatch at a position, (1,)."""
        m = self.minibatches
        assert self._images is not None and isinstance(m.train, DenseImages)
        rows = self._images.index_select(0, position)[0]
        index = self._index if self._tasks is None else m.pixel_index(self._tasks.index_select(0, position)[0])
        self._write(self._member_x, m.train.x, rows, index, m.train.scale, m.train.offset)
        if self._networks > 1:
            self._x.unflatten(0, (-1, self._networks)).copy_(self._member_x[:, None])
        return DenseInputs(self._x), rows


class LitReader:
    """Reads the lit pixels of the minibatches of a loaded epoch, one after the other, some of them ahead.

    Args:
        minibatches: What the K members see.
    """

    def __init__(self, minibatches: Minibatches) -> None:
        self.minibatches = minibatches
        self._next: Iterator[tuple[LitInputs, Tensor]] = iter(())

    def load(self, order: EpochOrder) -> None:
        """Begin an epoch."""
        self._next = self._read_ahead(order)

    def _read_ahead(self, order: EpochOrder) -> Iterator[tuple[LitInputs, Tensor]]:
        m = self.minibatches
        assert isinstance(m.train, LitImages)
        for start in range(0, len(order.images), STEPS_AHEAD):
            ahead = slice(start, start + STEPS_AHEAD)
            rows, tasks = order.images[ahead], order.tasks
            index = m.pixel_index(tasks[ahead] if isinstance(tasks, Tensor) else tasks)
            yield from zip(m.train.minibatches(rows, index), rows, strict=True)

    def read(self, position: Tensor) -> tuple[Inputs, Tensor]:
        """Inputs of the K members, and rows of the images, (K, B), of the next minibatch, which is the one at the position."""
        return next(self._next)


class Steps:
    """The training steps of a segment.

    A step reads its minibatch, labels and key by a counter that lives on the device, so nothing in an epoch waits for
    the device, and a captured step serves for all.

    Args:
        minibatches: What the K members see.
        network: Their shape.
        method: Their rule.
        state: Their state, changed in place.
        task: The task of the segment; 0 for joint training.
        fuse: Whether to compile the arithmetic.

    Attributes:
        count: Steps in an epoch, S.
    """

    def __init__(self, minibatches: Minibatches, network: Network, method: Method, state: State, task: int, fuse: bool) -> None:
        self.minibatches, self.method, self.state, self.task = minibatches, method, state, task
        self.count = minibatches.schedule.steps(task)
        traits = method.traits
        members, batch = len(minibatches.seeds), minibatches.benchmark.batch_size
        is_lit = isinstance(minibatches.train, LitImages)
        self._reader: DenseReader | LitReader = (
            LitReader(minibatches) if is_lit else DenseReader(minibatches, task, traits.networks_per_transmission, fuse)
        )
        # Keys of the loaded epoch, (S + 1, K, 2).
        self._keys = torch.zeros(self.count + 1, members, 2, dtype=torch.int32, device=minibatches.device)
        self._position = torch.zeros(1, dtype=torch.long, device=minibatches.device)
        self._loss = torch.zeros(members * traits.networks_per_transmission, device=minibatches.device)
        self._weights, self._biases = method.transmit(state, self._keys[0])
        self._backprop = Backprop(network, self._weights, self._biases, traits.trains_biases, batch)
        self._raises: Tensor | None = None  # steps that pushed a synapse to release more often, where they are counted
        # An epoch whose loss nobody reads does not compute it; so there are two programs.
        self._plain = ReplayedFunction(weak_method(self._step, False), minibatches.device)
        self._with_loss = ReplayedFunction(weak_method(self._step, True), minibatches.device)

    def count_raises(self) -> Tensor:
        """From now on count the steps that push a synapse to release more often; returns the counter, (K, n_weights)."""
        self._raises = torch.zeros_like(self.state["weights"])
        return self._raises

    def load(self, epoch: int, first_step: int) -> None:
        """Get an epoch ready; first_step is the number of its first step, counted over all tasks."""
        self._reader.load(self.minibatches.order(self.task, epoch))
        copy_to_device(
            self._keys, keys(self.minibatches.seeds, Purpose.RELEASE, np.arange(first_step, first_step + self.count + 1))
        )
        self._position.zero_()
        for buffer, values in zip((self._weights, self._biases), self.method.transmit(self.state, self._keys[0]), strict=True):
            if buffer is not values:
                buffer.copy_(values)

    def advance(self, steps: int, measure_loss: bool = True) -> Tensor:
        """Make the next steps of the loaded epoch; returns their mean loss, (K,), which means nothing if not measured."""
        self._loss.zero_()
        (self._with_loss if measure_loss else self._plain)(steps)
        return self._loss.view(-1, self.method.traits.networks_per_transmission).mean(dim=1) / steps

    def _step(self, measure_loss: bool) -> None:
        self._backprop(*self._read(), self._loss if measure_loss else None)
        self._update()

    def _read(self) -> tuple[Inputs, Tensor]:
        """The inputs of the minibatch at the counter, and its labels, (K·S, B)."""
        inputs, images = self._reader.read(self._position)
        labels, networks = self.minibatches.train_y[images], self.method.traits.networks_per_transmission
        return inputs, labels if networks == 1 else labels.repeat_interleave(networks, dim=0)

    def _update(self) -> None:
        self._position.add_(1)
        next_key = self._keys.index_select(0, self._position)[0]
        grad, bias_grad = self._backprop.grad, self._backprop.bias_grad
        if self._raises is not None:
            self._raises.add_(self.method.find_raised_synapses(self.state, grad, self._weights))
        self.method.update(self.state, grad, bias_grad, self._weights, self._biases, next_key)

    def profile(self, steps: int) -> dict[str, float]:
        """Make steps of the loaded epoch and time their phases; returns the seconds of a step by phase, of one core."""
        seconds = dict.fromkeys(("inputs", "forward and backward", "update"), 0.0)
        for _ in range(steps):
            marks = [time.thread_time()]
            inputs, labels = self._read()
            marks.append(time.thread_time())
            self._backprop(inputs, labels)
            marks.append(time.thread_time())
            self._update()
            marks.append(time.thread_time())
            for phase, (start, end) in zip(seconds, pairwise(marks), strict=True):
                seconds[phase] += (end - start) / steps
        return seconds


def _fill(buffer: Tensor | None, values: Tensor) -> Tensor:
    """The buffer with these values; a new one where there is none yet."""
    return values.clone() if buffer is None else buffer.copy_(values)


def _write_inputs(out: Tensor, x: Tensor, image: Tensor, pixel: Tensor | None, scale: float, offset: float) -> None:
    """`make_inputs` into a buffer that stays where it is."""
    out.copy_(make_inputs(x, image, pixel, scale, offset))
