"""What K networks see: minibatches, permutations and test images, on the device."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from presyn.benchmarks import Benchmark, hold_out
from presyn.datasets import Dataset
from presyn.inputs import DenseImages, LitImages
from presyn.random_numbers import Purpose, bits, keys, permutation, uniform
from presyn.schedule import Schedule


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Values that the host made, on the device, without waiting for what the device is doing."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def copy_to_device(buffer: Tensor, values: Tensor) -> None:
    """Copy values that the host made into a buffer on a device, without waiting for what the device is doing."""
    buffer.copy_(values.pin_memory() if buffer.is_cuda else values, non_blocking=True)


@dataclass
class EpochOrder:
    """Which image stands where in the S minibatches of an epoch.

    Attributes:
        images: Rows of the training set, (S, K, B) int64.
        tasks: The task that each image is shown for, (S, K, B) int64; or one task for all.
    """

    images: Tensor
    tasks: Tensor | int


class Minibatches:
    """The minibatches of K members: images on the device, permutations as indices, and an order for each epoch.

    Args:
        benchmark: The tasks.
        data: Its dataset.
        seeds: One for each member; a seed fixes the permutations and the order of the data.
        joint: Whether all tasks are seen at once.
        device: Where the data lives.
        arithmetic: How the first layer multiplies, a word of `presyn.inputs.ARITHMETICS`.

    Attributes:
        train, test: The images to train and to test on, in the form that the arithmetic needs.

    Raises:
        PresynError: a task has not enough images to train or test on.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        data: Dataset,
        seeds: Sequence[int],
        joint: bool,
        device: torch.device,
        arithmetic: str = "dense",
    ) -> None:
        self.benchmark, self.joint, self.device, self.arithmetic = benchmark, joint, device, arithmetic
        self.schedule = Schedule.for_benchmark(benchmark, data, joint)
        self.seeds = list(seeds)
        self.classes = benchmark.classes(data)
        train, validation = hold_out(benchmark, data)
        train_x, train_y = data.train_x[train], data.train_y[train]
        if benchmark.validation:
            test_x, test_y = data.train_x[validation], data.train_y[validation]
        else:
            test_x, test_y = data.test_x, data.test_y
        self.train, self.test = (self._make_images(x, data.scale, data.offset) for x in (train_x, test_x))
        self.train_y, self.test_y = (self._make_labels(y) for y in (train_y, test_y))
        # Of each task, the rows of the images that belong to it; None where all do.
        self._train_rows = [self._find_rows(train_y, task) for task in range(benchmark.tasks)]
        self._test_rows = [self._find_rows(test_y, task) for task in range(benchmark.tasks)]
        self.pixels = data.train_x.shape[1]
        self.permutations = self._make_permutations()
        self._index_table = None if self.permutations is None else self.train.tabulate(self.permutations)

    def select(self, members: list[int]) -> "Minibatches":
        """The minibatches of some of the members; they share the images."""
        selected = copy.copy(self)
        selected.seeds = [self.seeds[m] for m in members]
        if self.permutations is not None and self._index_table is not None:
            selected.permutations, selected._index_table = self.permutations[members], self._index_table[members]
        return selected

    def _make_images(self, x: np.ndarray, scale: float, offset: float) -> DenseImages | LitImages:
        """Images (N, pixels) on the device."""
        if self.arithmetic == "lit":
            return LitImages(x, scale, offset)
        return DenseImages(torch.from_numpy(x.copy()).to(self.device), scale, offset)

    def _make_labels(self, y: np.ndarray) -> Tensor:
        """Labels on the device, by the classes of images."""
        # The label of a split task is the parity of the class (released code).
        labels = y % 2 if self.benchmark.kind == "split" else y
        return torch.from_numpy(labels.copy()).to(self.device)

    def _find_rows(self, classes: np.ndarray, task: int) -> Tensor | None:
        """Rows of the images that belong to a task, (N,) int64, by the classes of all images; None where all images do."""
        if self.benchmark.kind != "split":
            return None
        return torch.from_numpy(np.flatnonzero(classes // 2 == task)).to(self.device)

    def _keys(self, purpose: Purpose, *counters: int) -> Tensor:
        return to_device(keys(self.seeds, purpose, *counters), self.device)

    def _make_permutations(self) -> Tensor | None:
        """(K, tasks, pixels) int64: input j of a task is pixel permutations[k, task, j]."""
        if not self.benchmark.permuted:
            return None
        by_task = [permutation(self._keys(Purpose.PERMUTATION, t), self.pixels) for t in range(self.benchmark.tasks)]
        if self.benchmark.first_task == "as_stored":
            by_task[0] = torch.arange(self.pixels, device=self.device).expand_as(by_task[0])
        return torch.stack(by_task, dim=1)

    def order(self, task: int, epoch: int) -> EpochOrder:
        """The order of the images in one epoch of a task: a keyed shuffle for each member."""
        key = self._keys(Purpose.ORDER, task, epoch)
        n, tasks = len(self.train_y), self.benchmark.tasks
        if self.joint:
            return self._joint_order(key, n, tasks)
        if self.benchmark.kind == "continuous":
            return self._continuous_order(key, n, task, epoch)
        rows = self._train_rows[task]
        order = permutation(key, self.schedule.train[task])
        return EpochOrder(self._cut(order if rows is None else rows[order], task), task)

    def _cut(self, order: Tensor, task: int) -> Tensor:
        """An order of images (K, N) cut into minibatches, (S, K, B)."""
        steps, size = self.schedule.steps(task), self.benchmark.batch_size
        return order[:, : steps * size].view(-1, steps, size).transpose(0, 1).contiguous()

    def _joint_order(self, key: Tensor, n: int, tasks: int) -> EpochOrder:
        """The order of the n images of all tasks together."""
        if self.benchmark.permuted:
            pairs = self._cut(permutation(key, n * tasks), 0)
            return EpochOrder(pairs % n, pairs // n)
        rows = torch.cat([torch.arange(n, device=self.device) if r is None else r for r in self._train_rows])
        return EpochOrder(self._cut(rows[permutation(key, len(rows))], 0), 0)

    def _continuous_order(self, key: Tensor, n: int, task: int, epoch: int) -> EpochOrder:
        """An order in which tasks mix around each boundary: linearly over a width, half and half at the boundary itself."""
        b, tasks = self.benchmark, self.benchmark.tasks
        released = b.transition == "released"
        # With replacement in the released code; one shuffled pass otherwise.
        rows = (uniform(key, n) * n).long().clamp(max=n - 1) if released else permutation(key, n)
        images = self._cut(rows, task)
        steps = len(images)
        length = steps * b.epochs  # L, in steps
        width = length / (4 if released else 2)
        now = torch.arange(steps) + 0.5 + epoch * steps  # steps since the task began
        # The chance that an image is shown for a neighbour: the next task at the end of a task, the last one at its start.
        to_next = ((now - length) / width + 0.5).clamp(0, 1) if task < tasks - 1 else torch.zeros_like(now)
        to_last = (0.5 - now / width).clamp(0, 1) if task > 0 else torch.zeros_like(now)
        # Chances are computed by the host and compared as whole numbers, so that tasks are the same on every device.
        u = self._cut(bits(self._keys(Purpose.MIXTURE, task, epoch), n) & 0xFFFFFF, task)
        next_below, last_from = (self._as_24_bits(chance) for chance in (to_next, 1 - to_last))
        tasks_shown = task + (u < next_below).long() - (u >= last_from).long()
        return EpochOrder(images, tasks_shown)

    def _as_24_bits(self, chance: Tensor) -> Tensor:
        """How many of the 2^24 numbers of 24 bits stand for a number below a chance; (S,) -> (S, 1, 1) int32 on the device."""
        limits = (chance.double() * (1 << 24)).ceil().to(torch.int32)
        return to_device(limits, self.device)[:, None, None]

    def test_images(self, task: int) -> Tensor:
        """Rows of the test set that belong to a task, (N,) int64."""
        rows = self._test_rows[task]
        return torch.arange(len(self.test_y), device=self.device) if rows is None else rows

    def pixel_index(self, tasks: Tensor | int) -> Any:
        """How tasks permute the pixels, as `train.inputs` and `test.inputs` take it; None if they are as stored.

        Args:
            tasks: The task of all images, or of each, (K, B).
        """
        return None if self._index_table is None else self.train.index(self._index_table, tasks)
