"""What K networks see: minibatches, permutations and test images, on the device."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from presyn.benchmarks import Benchmark, held_out
from presyn.datasets import Dataset
from presyn.schedule import Schedule
from presyn.streams import Purpose, bits, keys, permutation, uniform


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Values that the host made, on the device, without waiting for what the device is doing."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def into_device(buffer: Tensor, values: Tensor) -> None:
    """The same into a buffer that stays where it is."""
    buffer.copy_(values.pin_memory() if buffer.is_cuda else values, non_blocking=True)


@dataclass
class Batches:
    """The minibatches of an epoch: image (S, K, B) int64 rows, and task (S, K, B) int64 or one task for all."""

    image: Tensor
    task: Tensor | int


class Stream:
    """What K members see: images on the device as uint8, permutations as indices, and an order for each epoch.

    Args:
        benchmark: The tasks.
        data: Its dataset.
        seeds: One for each member; a seed fixes the permutations and the order of the data.
        joint: Whether all tasks are seen at once.
        device: Where the data lives.

    Raises:
        PresynError: a task has not enough images to train or test on.
    """

    def __init__(self, benchmark: Benchmark, data: Dataset, seeds: Sequence[int], joint: bool, device: torch.device) -> None:
        self.benchmark, self.joint, self.device = benchmark, joint, device
        self.schedule = Schedule.of(benchmark, data, joint)
        self.seeds = list(seeds)
        self.classes = benchmark.classes(data)
        self.scale, self.offset = data.scale, data.offset
        train, validation = held_out(benchmark, data)
        on_test = not benchmark.validation
        self.train_x, self.train_y = self._images(data.train_x[train], data.train_y[train])
        self.test_x, self.test_y = (
            self._images(data.test_x, data.test_y)
            if on_test
            else self._images(data.train_x[validation], data.train_y[validation])
        )
        split = benchmark.kind == "split"
        self._pools = [self._pool(data.train_y[train], t) if split else None for t in range(benchmark.tasks)]
        test_classes = data.test_y if on_test else data.train_y[validation]
        self._test_pools = [self._pool(test_classes, t) if split else None for t in range(benchmark.tasks)]
        self.pixels = self.train_x.shape[1]
        self.permutations = self._permutations()

    def keep(self, members: list[int]) -> "Stream":
        """The stream of some of the members; it shares the images."""
        kept = copy.copy(self)
        kept.seeds = [self.seeds[m] for m in members]
        kept.permutations = None if self.permutations is None else self.permutations[members]
        return kept

    def _images(self, x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        # The label of a split task is the parity of the class (PAPER section 3).
        label = y % 2 if self.benchmark.kind == "split" else y
        return torch.from_numpy(x.copy()).to(self.device), torch.from_numpy(label.copy()).to(self.device)

    def _pool(self, classes: np.ndarray, task: int) -> Tensor:
        return torch.from_numpy(np.flatnonzero(classes // 2 == task)).to(self.device)

    def _keys(self, purpose: Purpose, *counters: int) -> Tensor:
        return to_device(keys(self.seeds, purpose, *counters), self.device)

    def _permutations(self) -> Tensor | None:
        """(K, tasks, pixels) int64: input j of a task is pixel permutations[k, task, j]."""
        if not self.benchmark.permuted:
            return None
        each = [permutation(self._keys(Purpose.PERMUTATION, t), self.pixels) for t in range(self.benchmark.tasks)]
        return torch.stack(each, dim=1)

    def epoch(self, task: int, epoch: int) -> Batches:
        """The minibatches of one epoch of a task, a keyed shuffle for each member."""
        key = self._keys(Purpose.ORDER, task, epoch)
        n, tasks = len(self.train_y), self.benchmark.tasks
        if self.joint:
            return self._joint(key, n, tasks)
        if self.benchmark.kind == "continuous":
            return self._continuous(key, n, task, epoch)
        pool = self._pools[task]
        order = permutation(key, self.schedule.train[task])
        return Batches(self._batched(order if pool is None else pool[order], task), task)

    def _batched(self, order: Tensor, task: int) -> Tensor:
        steps, size = self.schedule.steps(task), self.benchmark.batch_size
        return order[:, : steps * size].view(-1, steps, size).transpose(0, 1).contiguous()

    def _joint(self, key: Tensor, n: int, tasks: int) -> Batches:
        if self.benchmark.permuted:
            pairs = self._batched(permutation(key, n * tasks), 0)
            return Batches(pairs % n, pairs // n)
        pool = torch.cat([torch.arange(n, device=self.device) if p is None else p for p in self._pools])
        return Batches(self._batched(pool[permutation(key, len(pool))], 0), 0)

    def _continuous(self, key: Tensor, n: int, task: int, epoch: int) -> Batches:
        """Tasks that mix around each boundary: linearly over a width, half and half at the boundary itself."""
        b, tasks = self.benchmark, self.benchmark.tasks
        released = b.transition == "released"
        # With replacement in the released code; one shuffled pass otherwise.
        rows = (uniform(key, n) * n).long().clamp(max=n - 1) if released else permutation(key, n)
        image = self._batched(rows, task)
        steps = len(image)
        length = steps * b.epochs  # L, in steps
        width = length / (4 if released else 2)
        now = torch.arange(steps) + 0.5 + epoch * steps  # steps since the task began
        # The chance of the neighbour: the next task at the end of the segment, the last one at its start.
        to_next = ((now - length) / width + 0.5).clamp(0, 1) if task < tasks - 1 else torch.zeros_like(now)
        to_last = (0.5 - now / width).clamp(0, 1) if task > 0 else torch.zeros_like(now)
        # Chances are computed by the host and compared as whole numbers, so that tasks are the same on every device.
        u = self._batched(bits(self._keys(Purpose.MIXTURE, task, epoch), n) & 0xFFFFFF, task)
        next_below, last_from = (self._in_words(chance) for chance in (to_next, 1 - to_last))
        mixed = task + (u < next_below).long() - (u >= last_from).long()
        return Batches(image, mixed)

    def _in_words(self, chance: Tensor) -> Tensor:
        """The words of 24 bits that stand for numbers below a chance, (S,) -> (S, 1, 1) int32 on the device."""
        words = (chance.double() * (1 << 24)).ceil().to(torch.int32)
        return to_device(words, self.device)[:, None, None]

    def test_images(self, task: int) -> Tensor:
        """Rows of the test set that belong to a task, (N,) int64."""
        pool = self._test_pools[task]
        return torch.arange(len(self.test_y), device=self.device) if pool is None else pool

    def pixel_index(self, task: Tensor | int) -> Tensor | None:
        """Which pixel each input is: (K, 1, pixels) for one task, (K, B, pixels) for tasks (K, B), None if as stored."""
        if self.permutations is None:
            return None
        if isinstance(task, int):
            return self.permutations[:, task, None]
        return self.permutations[torch.arange(len(task), device=task.device)[:, None], task]


def inputs(x: Tensor, image: Tensor, pixel: Tensor | None, scale: float, offset: float) -> Tensor:
    """Network inputs (K, B, pixels) from pixels x (N, pixels) uint8: rows image (K, B), columns pixel (K, 1 or B, pixels)."""
    raw = x[image] if pixel is None else x[image[..., None], pixel]
    return (raw.float() - offset) * scale
