"""The training steps of a segment as one program on fixed buffers; on a GPU one captured graph, replayed for every step."""

import time
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from presyn.fuse import fused
from presyn.graph import ReplayedFunction, weak_method
from presyn.methods.base import Method, State
from presyn.minibatches import Minibatches, copy_to_device, make_inputs
from presyn.network import Backprop, Network
from presyn.random_numbers import Purpose, keys


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
        self._pixel = minibatches.pixel_index(task)
        # The loaded epoch: its images and, where permutations mix in a minibatch, their tasks, (S, K, B); keys, (S + 1, K, 2).
        self._images: Tensor | None = None
        self._tasks: Tensor | None = None
        self._keys = torch.zeros(self.count + 1, members, 2, dtype=torch.int32, device=minibatches.device)
        self._position = torch.zeros(1, dtype=torch.long, device=minibatches.device)
        self._loss = torch.zeros(members * traits.networks_per_transmission, device=minibatches.device)
        self._inputs = fused(_write_inputs, fuse, minibatches.device)
        self._weights, self._biases = method.transmit(state, self._keys[0])
        self._backprop = Backprop(network, self._weights, self._biases, traits.trains_biases, batch)
        # The inputs of each member; where it has several sampled networks, all of them see the same ones.
        x = self._backprop.x
        self._member_x = x if traits.networks_per_transmission == 1 else x.new_empty(members, *x.shape[1:])
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
        order = self.minibatches.order(self.task, epoch)
        self._images = _fill(self._images, order.images)
        if isinstance(order.tasks, Tensor):
            self._tasks = _fill(self._tasks, order.tasks)
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
        self._backprop(self._gather(), self._loss if measure_loss else None)
        self._update()

    def _gather(self) -> Tensor:
        """Read the inputs of the minibatch at the counter; returns its labels, (K·S, B)."""
        m = self.minibatches
        images = self._images.index_select(0, self._position)[0]  # type: ignore[union-attr]
        pixel = self._pixel if self._tasks is None else m.pixel_index(self._tasks.index_select(0, self._position)[0])
        self._inputs(self._member_x, m.train_x, images, pixel, m.scale, m.offset)
        labels, networks = m.train_y[images], self.method.traits.networks_per_transmission
        if networks > 1:
            self._backprop.x.unflatten(0, (-1, networks)).copy_(self._member_x[:, None])
            labels = labels.repeat_interleave(networks, dim=0)
        return labels

    def _update(self) -> None:
        self._position.add_(1)
        next_key = self._keys.index_select(0, self._position)[0]
        grad, bias_grad = self._backprop.grad, self._backprop.bias_grad
        if self._raises is not None:
            self._raises.add_(self.method.find_raised_synapses(self.state, grad, self._weights))
        self.method.update(self.state, grad, bias_grad, self._weights, self._biases, next_key)

    def profile(self, steps: int) -> dict[str, float]:
        """Make steps of the loaded epoch and time their phases; returns the seconds of a step by phase. For the CPU."""
        seconds = dict.fromkeys(("inputs", "forward and backward", "update"), 0.0)
        for _ in range(steps):
            marks = [time.perf_counter()]
            labels = self._gather()
            marks.append(time.perf_counter())
            self._backprop(labels)
            marks.append(time.perf_counter())
            self._update()
            marks.append(time.perf_counter())
            for phase, (start, end) in zip(seconds, pairwise(marks), strict=True):
                seconds[phase] += (end - start) / steps
        return seconds


def _fill(buffer: Tensor | None, values: Tensor) -> Tensor:
    """The buffer with these values; a new one where there is none yet."""
    return values.clone() if buffer is None else buffer.copy_(values)


def _write_inputs(out: Tensor, x: Tensor, image: Tensor, pixel: Tensor | None, scale: float, offset: float) -> None:
    """`make_inputs` into a buffer that stays where it is."""
    out.copy_(make_inputs(x, image, pixel, scale, offset))
