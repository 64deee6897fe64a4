"""Perceptrons on random patterns, as cohorts (Fig. 5b and c; released notebook)."""

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
from presyn.random_numbers import Purpose, bits, keys
from presyn.schedule import Schedule
from presyn.training import Cohort


class Patterns:
    """The patterns of K members: in place of `presyn.minibatches.Minibatches`.

    Attributes:
        x: int8, 1 or -1, (K, tasks, patterns, N).
        y: int8, 1 or -1, (K, tasks, patterns), as likely either.
    """

    arithmetic = ""  # inputs of 1 and -1, none of 0

    def __init__(self, benchmark: Benchmark, data: Dataset, seeds: Sequence[int], device: torch.device) -> None:
        self.benchmark, self.seeds, self.device, self.joint = benchmark, list(seeds), device, False
        self.schedule = Schedule.for_benchmark(benchmark, data, joint=False)
        self.pixels, self.classes = benchmark.inputs, 1
        by_task = [self._draw(task) for task in range(benchmark.tasks)]
        self.x, self.y = (torch.stack(tensors, dim=1) for tensors in zip(*by_task, strict=True))

    def _draw(self, task: int) -> tuple[Tensor, Tensor]:
        """The patterns of a task, (K, patterns, N), and their labels, (K, patterns)."""
        n, length = self.schedule.train[task], self.benchmark.inputs
        x, y = (
            (bits(keys(self.seeds, Purpose.PATTERNS, task, which).to(self.device), size) & 1).to(torch.int8) * 2 - 1
            for which, size in enumerate((n * length, n))
        )
        return x.view(-1, n, length), y

    def select(self, members: list[int]) -> "Patterns":
        """The patterns of some of the members."""
        selected = copy.copy(self)
        selected.seeds = [self.seeds[m] for m in members]
        selected.x, selected.y = self.x[members], self.y[members]
        return selected

    def test_images(self, task: int) -> Tensor:
        """Which patterns of a task are tested: all."""
        return torch.arange(self.schedule.test[task], device=self.device)


class PatternSteps:
    """The training steps of a task: in place of `presyn.steps.Steps`. Patterns come in order, as in the released notebook."""

    def __init__(self, patterns: Patterns, method: Perceptron, state: State, task: int) -> None:
        self.patterns, self.method, self.state, self.task = patterns, method, state, task
        self.count = patterns.schedule.steps(task)
        self._next_step, self._keys = 0, torch.empty(0)

    def load(self, epoch: int, first_step: int) -> None:
        """Get a pass over the patterns ready; first_step is the number of its first step, counted over all tasks."""
        self._next_step = 0
        steps = np.arange(first_step, first_step + self.count)
        self._keys = keys(self.patterns.seeds, Purpose.RELEASE, steps).to(self.patterns.device)

    def advance(self, steps: int, measure_loss: bool = True) -> Tensor:
        """Make the next steps; returns the share of wrong predictions, (K,), which stands for the loss."""
        patterns, size = self.patterns, self.patterns.benchmark.batch_size
        wrong = torch.zeros(len(patterns.seeds), device=patterns.device)
        for i in range(self._next_step, self._next_step + steps):
            batch = slice(i * size, (i + 1) * size)
            x, y = patterns.x[:, self.task, batch].float(), patterns.y[:, self.task, batch].float()
            wrong += (self.method.learn(self.state, x, y, self._keys[i]) != y).float().mean(dim=1)
        self._next_step += steps
        return wrong / steps


class PatternCohort(Cohort):
    """K perceptrons trained together."""

    minibatches: Patterns  # type: ignore[assignment]

    def _make_minibatches(self, data: Dataset, arithmetic: str) -> Patterns:  # type: ignore[override]
        return Patterns(self.benchmark, data, [r.seed for r in self.runs], self.device)

    def make_steps(self, segment: int) -> PatternSteps:  # type: ignore[override]
        task = self.schedule.task(segment)
        return PatternSteps(self.minibatches, cast(Perceptron, self.method), self.state, task)

    def _test_batch(self, counter: int, task: int, batch: int, rows: Tensor) -> Tensor:
        """How many of these patterns each member gets right, (K,), by the majority of its sampled networks; a tie is wrong."""
        patterns, method, votes_cast = (
            self.minibatches,
            cast(Perceptron, self.method),
            self.method.traits.transmissions_per_test,
        )
        x, y = patterns.x[:, task, rows].float(), patterns.y[:, task, rows].float()
        key = keys(patterns.seeds, Purpose.TEST_RELEASE, counter, task, batch, np.arange(votes_cast)).to(patterns.device)
        votes = sum(method.answer(self.state, x, key[i]) for i in range(votes_cast))
        return (cast(Tensor, votes).sign() == y).float().sum(dim=-1)
