"""The training steps of a part as one program on fixed buffers; on a GPU one captured graph, replayed for every step."""

import time
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from presyn.fuse import fused
from presyn.graph import Replayed, weakly
from presyn.methods.base import Method, State
from presyn.network import Backprop, Network
from presyn.stream import Stream, inputs, into_device
from presyn.streams import Purpose, keys


class Steps:
    """The training steps of a part.

    A step reads its minibatch, labels and key by a counter that lives on the device, so nothing in an epoch waits for
    the device, and a captured step serves for all.

    Args:
        stream: What the K members see.
        network: Their shape.
        method: Their rule.
        state: Their state, changed in place.
        task: The task of the part; 0 for joint training.
        fuse: Whether to compile.

    Attributes:
        count: Steps in an epoch, S.
    """

    def __init__(self, stream: Stream, network: Network, method: Method, state: State, task: int, fuse: bool) -> None:
        self.stream, self.method, self.state, self.task = stream, method, state, task
        self.count = stream.schedule.steps(task)
        traits = method.traits
        members, batch = len(stream.seeds), stream.benchmark.batch_size
        self._pixel = stream.pixel_index(task)
        # Of the epoch: images and, where permutations mix in a minibatch, their tasks, (S, K, B); keys, (S + 1, K, 2).
        self._image: Tensor | None = None
        self._mixed: Tensor | None = None
        self._keys = torch.zeros(self.count + 1, members, 2, dtype=torch.int32, device=stream.device)
        self._at = torch.zeros(1, dtype=torch.long, device=stream.device)
        self._loss = torch.zeros(members * traits.networks_per_transmission, device=stream.device)
        self._inputs = fused(_inputs, fuse, stream.device)
        self._weights, self._biases = method.transmit(state, self._keys[0])
        self._backprop = Backprop(network, self._weights, self._biases, traits.trains_biases, batch)
        # Of the members, when each of them has several sampled networks that see the same images.
        self._shared = (
            self._backprop.x if traits.networks_per_transmission == 1 else self._backprop.x.new_empty(members, *self._backprop.x.shape[1:])
        )
        self._raised: Tensor | None = None
        # An epoch whose loss nobody reads does not compute it; so there are two programs.
        self._plain = Replayed(weakly(self._step, False), stream.device)
        self._with_loss = Replayed(weakly(self._step, True), stream.device)

    def count_raises(self) -> Tensor:
        """From now on count the steps that push a synapse to release more often; returns the counter, (K, n_weights)."""
        self._raised = torch.zeros_like(self.state["weights"])
        return self._raised

    def load(self, epoch: int, first_step: int) -> None:
        """Get an epoch ready, the steps before which, of all tasks, are first_step."""
        s = self.stream
        batches = s.epoch(self.task, epoch)
        self._image = _into(self._image, batches.image)
        if isinstance(batches.task, Tensor):
            self._mixed = _into(self._mixed, batches.task)
        into_device(self._keys, keys(s.seeds, Purpose.RELEASE, np.arange(first_step, first_step + self.count + 1)))
        self._at.zero_()
        for mine, theirs in zip((self._weights, self._biases), self.method.transmit(self.state, self._keys[0]), strict=True):
            if mine is not theirs:
                mine.copy_(theirs)

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
        s = self.stream
        image = self._image.index_select(0, self._at)[0]  # type: ignore[union-attr]
        pixel = self._pixel if self._mixed is None else s.pixel_index(self._mixed.index_select(0, self._at)[0])
        self._inputs(self._shared, s.train_x, image, pixel, s.scale, s.offset)
        labels, draws = s.train_y[image], self.method.traits.networks_per_transmission
        if draws > 1:
            self._backprop.x.unflatten(0, (-1, draws)).copy_(self._shared[:, None])
            labels = labels.repeat_interleave(draws, dim=0)
        return labels

    def _update(self) -> None:
        self._at.add_(1)
        next_key = self._keys.index_select(0, self._at)[0]
        grad, bias_grad = self._backprop.grad, self._backprop.bias_grad
        if self._raised is not None:
            self._raised.add_(self.method.find_raised_synapses(self.state, grad, self._weights))
        self.method.update(self.state, grad, bias_grad, self._weights, self._biases, next_key)

    def profile(self, steps: int) -> dict[str, float]:
        """Make steps of the loaded epoch one part at a time; returns the seconds of a step by part. For the CPU."""
        spent = dict.fromkeys(("inputs", "forward and backward", "update"), 0.0)
        for _ in range(steps):
            marks = [time.perf_counter()]
            labels = self._gather()
            marks.append(time.perf_counter())
            self._backprop(labels)
            marks.append(time.perf_counter())
            self._update()
            marks.append(time.perf_counter())
            for part, (start, end) in zip(spent, pairwise(marks), strict=True):
                spent[part] += (end - start) / steps
        return spent


def _into(buffer: Tensor | None, values: Tensor) -> Tensor:
    return values.clone() if buffer is None else buffer.copy_(values)


def _inputs(out: Tensor, x: Tensor, image: Tensor, pixel: Tensor | None, scale: float, offset: float) -> None:
    out.copy_(inputs(x, image, pixel, scale, offset))
