"""How a run is cut into segments, epochs, steps and tests: a pure value, made without an image on a device or a weight.

A segment is the stretch of training after which a cohort measures, tests and may stop: a task; or an epoch, where the
benchmark's option `parts` says so; or, for joint training, an epoch of all tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from presyn.benchmarks import Benchmark, hold_out
from presyn.datasets import Dataset
from presyn.errors import PresynError
from presyn.methods import method_class
from presyn.record import Record
from presyn.runs import Run

MOST_JOINT_IMAGES = 1 << 20
"""Images of all tasks that one keyed shuffle can order, for joint training."""


@dataclass(frozen=True)
class Segments:
    """The segments of a run, whatever its images; segments, tasks and epochs are counted from 0.

    Attributes:
        benchmark: The tasks.
        joint: Whether all tasks are seen at once.
    """

    benchmark: Benchmark
    joint: bool

    @property
    def segments(self) -> int:
        """How many segments there are."""
        b = self.benchmark
        return b.epochs if self.joint else b.tasks * (b.epochs if b.parts == "epoch" else 1)

    def task(self, segment: int) -> int:
        """The task that a segment trains; 0 for joint training, which trains all."""
        if self.joint:
            return 0
        return segment // self.benchmark.epochs if self.benchmark.parts == "epoch" else segment

    def epochs(self, segment: int) -> range:
        """The epochs of its task that make up a segment."""
        epochs = self.benchmark.epochs
        if self.joint or self.benchmark.parts == "epoch":
            return range(segment % epochs, segment % epochs + 1)
        return range(epochs)

    def starts_task(self, segment: int) -> bool:
        """Whether a task starts with a segment."""
        return self.epochs(segment)[0] == 0

    def ends_task(self, segment: int) -> bool:
        """Whether a task ends with a segment; for joint training, whether all tasks do."""
        return self.epochs(segment)[-1] == self.benchmark.epochs - 1

    def tested_tasks(self, segment: int) -> Sequence[int]:
        """The tasks to test on after a segment."""
        if not self.ends_task(segment):
            return ()
        is_last = segment == self.segments - 1
        if self.joint:
            return range(self.benchmark.tasks) if is_last else ()
        task = self.task(segment)
        return range(task + 1) if is_last or self.benchmark.tests == "all" else (task,)

    def check(self, record: Record) -> None:
        """Check that a record is one of a run of these segments, tested where such a run is.

        Raises:
            ValueError: it is not; in words that fit after "it is not a record".
        """
        record.check()
        past = record.segments
        if past > self.segments or (past == self.segments) < (record.status == "finished"):
            raise ValueError(f"it has {past} of {self.segments} segments behind it and is {record.status}")
        if record.status == "training" and past == self.segments:
            raise ValueError("it has all segments behind it and is not finished")
        tested = [set(self.tested_tasks(segment)) for segment in range(past) if self.tested_tasks(segment)]
        if [len(line) for line in record.accuracy] != [self.benchmark.tasks] * len(tested):
            raise ValueError("its accuracies are not those of its tasks")
        for line, tasks in zip(record.accuracy, tested, strict=True):
            if {task for task, accuracy in enumerate(line) if accuracy is not None} != tasks:
                raise ValueError("it was tested on other tasks")


def _refuse_lone_classes(benchmark: Benchmark, data: Dataset, classes: np.ndarray) -> None:
    """Raise a PresynError for a split task without images of both its classes: whatever it learned would count as right."""
    present = set(np.unique(classes).tolist())
    use = "trained" if benchmark.validation else "trained and tested"
    for task in range(benchmark.tasks):
        pair = (2 * task, 2 * task + 1)
        missing = [label for label in pair if label not in present]
        if missing:
            remedy = "number the classes from 0 without gaps, or make the tasks fewer"
            if benchmark.validation and missing[0] in data.train_y:
                remedy = f"validation {benchmark.validation} takes them, lower it"
            raise PresynError(
                f"Task {task + 1} of {benchmark.name} tells the classes {pair[0]} and {pair[1]} apart, but {data.name} has no "
                f"{use} images of class {missing[0]}: {remedy}."
            )


@dataclass(frozen=True)
class Schedule(Segments):
    """The segments of a run on its images; steps, too, are counted from 0.

    Attributes:
        train: Training images of each task.
        test: Test images of each task.

    Raises:
        PresynError: a task has not enough images to train or test on.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]

    @classmethod
    def for_benchmark(cls, benchmark: Benchmark, data: Dataset, joint: bool) -> "Schedule":
        """The schedule of a benchmark on its images.

        Raises:
            PresynError: they are not the images of this benchmark's tasks; names which task lacks what.
        """
        if not isinstance(benchmark, Benchmark) or not isinstance(data, Dataset):
            raise PresynError(f"A schedule is made of a Benchmark and a Dataset, not of {benchmark!r} and {data!r}.")
        train, validation = hold_out(benchmark, data)
        classes = data.train_y[train], data.train_y[validation] if benchmark.validation else data.test_y
        if benchmark.kind == "split":
            _refuse_lone_classes(benchmark, data, classes[0])
            if not benchmark.validation:
                _refuse_lone_classes(benchmark, data, classes[1])
            images = [np.bincount(y // 2, minlength=benchmark.tasks)[: benchmark.tasks].tolist() for y in classes]
        else:
            images = [[len(y)] * benchmark.tasks for y in classes]
        return cls(benchmark, joint, tuple(images[0]), tuple(images[1]))

    def __post_init__(self) -> None:
        b = self.benchmark
        if self.joint and b.permuted and sum(self.train) > MOST_JOINT_IMAGES:
            raise PresynError(f"tasks must be at most {MOST_JOINT_IMAGES // self.train[0]} for joint training, not {b.tasks}.")
        for task in range(b.tasks):
            if not self.steps(task):
                if b.kind == "patterns":
                    patterns = f"the {self.train[task]} patterns of a task"
                    raise PresynError(f"batch_size {b.batch_size} is more than {patterns}: lower it.")
                of_task = f"the {self.train[task]} training images of task {task + 1}"
                images = f"the {sum(self.train)} training images of all tasks" if self.joint else of_task
                remedy = "lower it or validation" if b.validation else "lower it"
                raise PresynError(f"batch_size {b.batch_size} is more than {images}: {remedy}.")
            if not self.test[task]:
                raise PresynError(f"validation {b.validation} leaves nothing to test task {task + 1} on: raise it.")

    def steps(self, task: int) -> int:
        """Minibatches in an epoch of a task, of all tasks for joint training; the last incomplete one is dropped."""
        images = sum(self.train) if self.joint else self.train[task]
        return images // self.benchmark.batch_size

    def first_step(self, segment: int) -> int:
        """The number of the first step of a segment; for the number of segments, how many steps there are."""
        return sum(self.steps(self.task(s)) * len(self.epochs(s)) for s in range(segment))

    def images_tested(self) -> int:
        """Test images that a run classifies in all its tests."""
        return sum(self.test[task] for segment in range(self.segments) for task in self.tested_tasks(segment))


def make_segments(run: Run) -> Segments:
    """The segments of a run, for which its images are not needed."""
    return Segments(run.benchmark, method_class(run.method).joint)


def make_schedule(run: Run, data: Dataset) -> Schedule:
    """The schedule of a run on its benchmark's images.

    Raises:
        PresynError: it is no run, or they are not the images of its tasks.
    """
    if not isinstance(run, Run):
        raise PresynError(f"A schedule is made of a run, as make_run makes them, not of {run!r}.")
    return Schedule.for_benchmark(run.benchmark, data, method_class(run.method).joint)
