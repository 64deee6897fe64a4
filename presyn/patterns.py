"""Perceptrons on random patterns, as cohorts (PAPER section 6)."""

import copy
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from presyn.benchmarks import Benchmark
from presyn.datasets import Dataset
from presyn.methods.base import State
from presyn.methods.perceptron import Perceptron
from presyn.schedule import Schedule
from presyn.streams import Purpose, bits, keys
from presyn.training import Cohort


class Patterns:
    """The patterns of K members: in place of a `presyn.stream.Stream`.

    Attributes:
        x: int8, 1 or -1, (K, tasks, patterns, N).
        y: int8, 1 or -1, (K, tasks, patterns), as likely either.
    """

    def __init__(self, benchmark: Benchmark, data: Dataset, seeds: Sequence[int], device: torch.device) -> None:
        self.benchmark, self.seeds, self.device, self.joint = benchmark, list(seeds), device, False
        self.schedule = Schedule.of(benchmark, data, joint=False)
        self.pixels, self.classes = benchmark.inputs, 1
        each = [self._draw(task) for task in range(benchmark.tasks)]
        self.x, self.y = (torch.stack(drawn, dim=1) for drawn in zip(*each, strict=True))

    def _draw(self, task: int) -> tuple[Tensor, Tensor]:
        n, length = self.schedule.train[task], self.benchmark.inputs
        x, y = (
            (bits(keys(self.seeds, Purpose.PATTERNS, task, which).to(self.device), size) & 1).to(torch.int8) * 2 - 1
            for which, size in enumerate((n * length, n))
        )
        return x.view(-1, n, length), y

    def keep(self, members: list[int]) -> "Patterns":
        """The patterns of some of the members."""
        kept = copy.copy(self)
        kept.seeds = [self.seeds[m] for m in members]
        kept.x, kept.y = self.x[members], self.y[members]
        return kept

    def test_images(self, task: int) -> Tensor:
        """Which patterns of a task are tested: all."""
        return torch.arange(self.schedule.test[task], device=self.device)


class PatternSteps:
    """The training steps of a task: in place of `presyn.steps.Steps`. Patterns come in order, as in the released notebook."""

    def __init__(self, stream: Patterns, method: Perceptron, state: State, task: int) -> None:
        self.stream, self.method, self.state, self.task = stream, method, state, task
        self.count = stream.schedule.steps(task)
        self._next, self._keys = 0, torch.empty(0)

    def load(self, epoch: int, first_step: int) -> None:
        """Get a pass over the patterns ready, the steps before which, of all tasks, are first_step."""
        self._next = 0
        steps = np.arange(first_step, first_step + self.count)
        self._keys = keys(self.stream.seeds, Purpose.RELEASE, steps).to(self.stream.device)

    def advance(self, steps: int, measure_loss: bool = True) -> Tensor:
        """Make the next steps; returns the share of wrong predictions, (K,), which stands for the loss."""
        s, size = self.stream, self.stream.benchmark.batch_size
        wrong = torch.zeros(len(s.seeds), device=s.device)
        for i in range(self._next, self._next + steps):
            now = slice(i * size, (i + 1) * size)
            x, y = s.x[:, self.task, now].float(), s.y[:, self.task, now].float()
            wrong += (self.method.learn(self.state, x, y, self._keys[i]) != y).float().mean(dim=1)
        self._next += steps
        return wrong / steps


class PatternCohort(Cohort):
    """K perceptrons trained together."""

    stream: Patterns  # type: ignore[assignment]

    def _stream(self, data: Dataset) -> Patterns:  # type: ignore[override]
        return Patterns(self.benchmark, data, [r.seed for r in self.runs], self.device)

    def steps_of(self, part: int) -> PatternSteps:  # type: ignore[override]
        return PatternSteps(self.stream, cast(Perceptron, self.method), self.state, self.schedule.task_of(part))

    def _test_batch(self, part: int, task: int, batch: int, rows: Tensor) -> Tensor:
        """How many of these patterns each member gets right, by the majority of its passes; a tie is wrong, (K,)."""
        s, method, samples = self.stream, cast(Perceptron, self.method), self.method.traits.transmissions_per_test
        x, y = s.x[:, task, rows].float(), s.y[:, task, rows].float()
        key = keys(s.seeds, Purpose.TEST_RELEASE, part, task, batch, np.arange(samples)).to(s.device)
        votes = sum(method.answer(self.state, x, key[i]) for i in range(samples))
        return (cast(Tensor, votes).sign() == y).float().sum(dim=-1)
