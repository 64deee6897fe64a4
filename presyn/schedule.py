"""How a run is cut into parts, epochs, steps and tests: a pure value, made without an image on a device or a weight.

A part is what a run trains between two looks at it, after which it can be checkpointed: a task, or an epoch where the benchmark
says so, or an epoch of all tasks for joint training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from presyn.benchmarks import Benchmark, held_out
from presyn.datasets import Dataset
from presyn.errors import PresynError
from presyn.methods import kind_of
from presyn.runs import Run

MOST_TOGETHER = 1 << 20  # images of all tasks that one keyed shuffle can order


@dataclass(frozen=True)
class Schedule:
    """The parts of a run.

    Attributes:
        benchmark: The tasks.
        joint: Whether all tasks are seen at once.
        train: Training images of each task.
        test: Test images of each task.

    Raises:
        PresynError: a task has not enough images to train or test on.
    """

    benchmark: Benchmark
    joint: bool
    train: tuple[int, ...]
    test: tuple[int, ...]

    @classmethod
    def of(cls, benchmark: Benchmark, data: Dataset, joint: bool) -> "Schedule":
        """The schedule of a benchmark on its images."""
        train, validation = held_out(benchmark, data)
        classes = data.train_y[train], data.train_y[validation] if benchmark.validation else data.test_y
        if benchmark.kind == "split":
            sizes = [np.bincount(y // 2, minlength=benchmark.tasks)[: benchmark.tasks].tolist() for y in classes]
        else:
            sizes = [[len(y)] * benchmark.tasks for y in classes]
        return cls(benchmark, joint, tuple(sizes[0]), tuple(sizes[1]))

    def __post_init__(self) -> None:
        b = self.benchmark
        if self.joint and b.permuted and self._together > MOST_TOGETHER:
            raise PresynError(f"tasks must be at most {MOST_TOGETHER // self.train[0]} for joint training, not {b.tasks}.")
        for task in range(b.tasks):
            if not self.steps(task):
                if b.kind == "patterns":
                    of = f"the {self.train[task]} patterns of a task"
                    raise PresynError(f"batch_size {b.batch_size} is more than {of}: lower it.")
                size = f"{self.train[task]} training images of task {task + 1}"
                raise PresynError(f"batch_size {b.batch_size} is more than the {size}: lower it or validation.")
            if not self.test[task]:
                raise PresynError(f"validation {b.validation} leaves nothing to test task {task + 1} on: raise it.")

    @property
    def _together(self) -> int:
        """Images of all tasks, which joint training shuffles together."""
        return sum(self.train)

    @property
    def parts(self) -> int:
        b = self.benchmark
        return b.epochs if self.joint else b.tasks * (b.epochs if b.parts == "epoch" else 1)

    def steps(self, task: int) -> int:
        """Minibatches in an epoch of a task (of all tasks, for joint); the last incomplete one is dropped."""
        return (self._together if self.joint else self.train[task]) // self.benchmark.batch_size

    def task_of(self, part: int) -> int:
        """The task that a part trains; 0 for joint training, which trains all."""
        if self.joint:
            return 0
        return part // self.benchmark.epochs if self.benchmark.parts == "epoch" else part

    def epochs_of(self, part: int) -> range:
        """The epochs, of its task, that make up a part."""
        epochs = self.benchmark.epochs
        if self.joint or self.benchmark.parts == "epoch":
            return range(part % epochs, part % epochs + 1)
        return range(epochs)

    def ends_task(self, part: int) -> bool:
        """Whether a task ends with this part; for joint training, whether all do."""
        return self.epochs_of(part)[-1] == self.benchmark.epochs - 1

    def first_step(self, part: int) -> int:
        """Steps before a part; the sum of all for part = parts."""
        return sum(self.steps(self.task_of(p)) * len(self.epochs_of(p)) for p in range(part))

    def tested_tasks(self, part: int) -> Sequence[int]:
        """The tasks to test on after a part."""
        if not self.ends_task(part):
            return ()
        ended = part == self.parts - 1
        if self.joint:
            return range(self.benchmark.tasks) if ended else ()
        task = self.task_of(part)
        return range(task + 1) if ended or self.benchmark.tests == "all" else (task,)

    def images_tested(self) -> int:
        """Test images that a run classifies in all its tests."""
        return sum(self.test[task] for part in range(self.parts) for task in self.tested_tasks(part))


def schedule_of(run: Run, data: Dataset) -> Schedule:
    """The schedule of a run on its benchmark's images."""
    return Schedule.of(run.benchmark, data, kind_of(run.method).joint)
