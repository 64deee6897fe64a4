"""The training loop: a cohort of K runs as one program.

A cohort trains segment by segment (see `presyn.schedule`). Between segments it can be saved, resumed in any other packing, and
rid of members that were dropped or diverged.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from presyn.datasets import Dataset
from presyn.device import TEST_BATCH, choose_device, refuse_too_large
from presyn.errors import PresynError
from presyn.graph import EAGER_CALLS, BufferedFunction, weak_method
from presyn.inputs import Inputs, choose_arithmetic
from presyn.measures import MEASURES, Moment, figure_names, refuse_unmeasurable
from presyn.measures.overlap import MEMORY, blank_memory, remember_frozen
from presyn.methods import method_class
from presyn.methods.base import Examples, Method, State
from presyn.minibatches import Minibatches, to_device
from presyn.network import Network
from presyn.plain import in_plain_torch
from presyn.random_numbers import Purpose, keys
from presyn.record import TAKEN, Record
from presyn.runs import Run, identify
from presyn.saved import check_states, save_states, saved_arithmetic
from presyn.schedule import Schedule, make_schedule
from presyn.steps import STEPS_AHEAD, Steps

# Synaptic updates of a run from which compiling pays; of a run, not of its cohort, so that every packing is the same program.
FUSE_FROM = 1e8


class Cohort:
    """K runs of one shape, trained together.

    Args:
        runs: They share method, benchmark and all options that do not vary inside a cohort (see `presyn.options.option`).
        data: The benchmark's dataset.
        device: Where to train; None takes a GPU if there is one.
        saved: The state of each run as `save` gave it, all after the same number of segments; None to start afresh.
        fuse: Whether to compile the updates; by default when the work ahead is worth the compile time.
        arithmetic: How the first layer multiplies, dense or lit (see `presyn.inputs`); None goes on as saved states began, and
            else takes lit products on a CPU where most pixels of the data set are 0.

    Attributes:
        runs, records: The members that train or have finished, and what training gave of each so far.
        run_ids: What names each of them in its saved state, whatever the code of its rule.
        lost: Members that were dropped or diverged, and what training gave of each.

    Raises:
        PresynError: runs of different shapes, or saved states that do not fit.
    """

    @in_plain_torch
    def __init__(
        self,
        runs: Sequence[Run],
        data: Dataset,
        device: torch.device | str | None,
        saved: Sequence[dict[str, Any]] | None = None,
        fuse: bool | None = None,
        arithmetic: str | None = None,
    ) -> None:
        _refuse_unfit(runs, data)
        device = choose_device(device)
        if arithmetic is None and device.type == "cpu":
            arithmetic = saved_arithmetic(saved)
        self.runs = list(runs)
        self.run_ids = [identify(run.config(), data.sha256) for run in runs]
        self.records = [Record() for _ in runs]
        self.lost: list[tuple[Run, Record]] = []
        self.device = device
        self.benchmark = runs[0].benchmark
        self.minibatches = self._make_minibatches(data, choose_arithmetic(data, device, arithmetic))
        self.schedule = self.minibatches.schedule
        self.network = Network((self.minibatches.pixels, *self.benchmark.hidden, self.minibatches.classes))
        self.segments = self.schedule.segments
        self.fuse = _pays_to_compile(self.schedule, self.network) if fuse is None else fuse
        self.method = self._make_method()
        self.state = self._start() if saved is None else self._restore(saved)
        self._tests = BufferedFunction(weak_method(self._count_right), device)
        self._moved = False  # whether the state is between two ends of segments, from which no run can go on
        refuse_unmeasurable(self.benchmark.measures, self.runs[0].method, self.state)

    def _make_minibatches(self, data: Dataset, arithmetic: str) -> Minibatches:
        joint = method_class(self.runs[0].method).joint
        return Minibatches(self.benchmark, data, [r.seed for r in self.runs], joint, self.device, arithmetic)

    def _make_method(self) -> Method:
        options = [run.options for run in self.runs]
        return method_class(self.runs[0].method)(options, self.device, self.fuse, self.benchmark.batch_size)

    def _start(self) -> State:
        state = self.method.start(*self.network.initial(self.minibatches.seeds, self.device))
        self.method.randomise(state, keys(self.minibatches.seeds, Purpose.INITIAL_P).to(self.device), self.network)
        return self._with_memory(state)

    def _with_memory(self, state: State) -> State:
        """A state, with what measurements remember from task to task."""
        return {**state, **blank_memory(state["weights"])} if "overlap" in self.benchmark.measures else state

    def _restart(self) -> None:
        """Give every member its initial state again, but for what measurements remember."""
        for name, values in self._start().items():
            if name not in MEMORY:
                self.state[name].copy_(values)

    @property
    def segment(self) -> int:
        """How many segments are finished: the number of the next one."""
        return self.records[0].segments if self.runs else self.segments

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return self.segment >= self.segments

    @in_plain_torch
    def train_segment(self, tick: Callable[[int], None] = lambda steps: None) -> None:
        """Train the next segment, measure and test, and remove members that were dropped or diverged.

        Args:
            tick: Called after each epoch with the steps it took.

        Raises:
            PresynError: all segments are trained, tick is no function, or an earlier segment was interrupted.
        """
        if self.done:
            raise PresynError("All segments of this cohort are trained: ask its `done` first.")
        self._refuse_moved()
        if not callable(tick):
            raise PresynError(f"tick must be a function of the steps that an epoch took, not {tick!r}; leave it out for none.")
        began = time.monotonic()
        segment = self.segment
        first_step = self.schedule.first_step(segment)
        epochs = self.schedule.epochs(segment)
        if self.benchmark.restarts and segment and self.schedule.starts_task(segment):
            self._restart()
        steps = self.make_steps(segment)
        counts_raises = "raises" in self.benchmark.measures and segment == self.segments - 1
        raises = steps.count_raises() if counts_raises else None
        self._moved = True
        for epoch in epochs:
            steps.load(epoch, first_step)
            loss = steps.advance(steps.count, measure_loss=epoch == epochs[-1])
            first_step += steps.count
            tick(steps.count)
        task = self.schedule.task(segment)
        if self.schedule.ends_task(segment) and not self.minibatches.joint:
            self.method.end_task(self.state, self.network, self._last_epoch(task))
        if "overlap" in self.benchmark.measures and self.schedule.ends_task(segment):
            remember_frozen(self.state, self.method.find_frozen_synapses(self.state), task)
        figures = self._measure(segment, None if raises is None else raises / (steps.count * len(epochs)))
        counter = segment if self.minibatches.joint else task
        on_device = {j: self._test_task(counter, j) for j in self.schedule.tested_tasks(segment)}
        # Only when all tests are on their way is the device waited for.
        accuracies = {j: accuracy.tolist() for j, accuracy in on_device.items()}
        self._record(segment, loss, figures, accuracies, began)

    def _measure(self, segment: int, raised: Tensor | None) -> dict[str, list[Any]]:
        """What the method describes and the benchmark wants measured after a segment: name -> a value for each member."""
        figures = self._describe()
        last = segment == self.segments - 1
        moment = Moment(self.network, self.method, self.state, self.minibatches, segment, last, raised)
        for name in self.benchmark.measures:
            if last or MEASURES[name].every:
                figures |= MEASURES[name].measure(moment)
        return {name: values.tolist() for name, values in figures.items()}

    def _describe(self) -> dict[str, Tensor]:
        """What the method describes of its state.

        Raises:
            PresynError: under a name that rows use for something else.
        """
        figures = dict(self.method.describe(self.state))
        taken = figures.keys() & {*TAKEN, *Record.__dataclass_fields__, *figure_names(MEASURES)}
        if taken:
            name = type(self.method).__name__
            raise PresynError(f"describe of {name} calls a figure {min(taken)!r}, a name that rows use already: rename it.")
        return figures

    def _last_epoch(self, task: int) -> Iterator[Examples]:
        """The minibatches of the last epoch of a task."""
        m = self.minibatches
        order = m.order(task, self.benchmark.epochs - 1)
        for i, images in enumerate(order.images):
            pixel = m.pixel_index(order.tasks[i] if isinstance(order.tasks, Tensor) else order.tasks)
            key = keys(m.seeds, Purpose.FISHER, task, i).to(self.device)
            yield m.train.inputs(images, pixel, back=True), m.train_y[images], key

    def make_steps(self, segment: int) -> Steps:
        """The training steps of a segment, which change this cohort's state.

        Raises:
            PresynError: there is no segment of that number.
        """
        if segment not in range(self.segments):
            raise PresynError(f"segment must be from 0 to {self.segments - 1}, not {segment!r}.")
        task = self.schedule.task(segment)
        return Steps(self.minibatches, self.network, self.method, self.state, task, self.fuse)

    @in_plain_torch
    def measure(self, steps: int = 2 * STEPS_AHEAD) -> tuple[float, float]:
        """Seconds that one member takes for a step and for testing an image; moves the state, so throw the cohort away.

        Raises:
            PresynError: steps is no number of steps, or the method describes figures under names that rows use.
        """
        if not isinstance(steps, int) or steps < 1:
            raise PresynError(f"steps must be a whole number from 1, not {steps!r}.")
        self._moved = True
        self._describe()  # so that a plan already refuses what it may not say
        program = self.make_steps(0)
        program.load(0, 0)
        program.advance(min(2 * EAGER_CALLS, program.count), measure_loss=False)  # compiles, and captures on a GPU
        program.load(0, 0)
        steps = min(steps, program.count)
        rows = self.minibatches.test_images(0)[:TEST_BATCH]
        marks = [time.perf_counter()]
        program.advance(steps, measure_loss=False).sum().item()  # as in all epochs of a segment but the last
        marks.append(time.perf_counter())
        self._test_batch(0, 0, 0, rows).sum().item()
        marks.append(time.perf_counter())
        return (marks[1] - marks[0]) / steps / len(self.runs), (marks[2] - marks[1]) / len(rows) / len(self.runs)

    def _test_task(self, counter: int, task: int) -> Tensor:
        """Accuracy of each member on a task, (K,).

        Args:
            counter: The task after which it tests, or the segment of joint training; for the random numbers.
            task: The task on which it tests.
        """
        images = self.minibatches.test_images(task)
        return sum(self._test_batch(counter, task, b, rows) for b, rows in enumerate(images.split(TEST_BATCH))) / len(images)  # type: ignore[return-value]

    def _test_batch(self, counter: int, task: int, batch: int, rows: Tensor) -> Tensor:
        """How many of these test images each member gets right, (K,)."""
        transmissions = np.arange(self.method.traits.transmissions_per_test)
        key = to_device(keys(self.minibatches.seeds, Purpose.TEST_RELEASE, counter, task, batch, transmissions), self.device)
        return self._tests(rows, self.minibatches.pixel_index(task), key)

    def _count_right(self, rows: Tensor, pixel: Any, key: Tensor) -> Tensor:
        """How many test images each member gets right, (K,).

        Args:
            rows: Which images, (B,).
            pixel: The `pixel_index` of the task.
            key: One for each transmission, (transmissions, K, 2).
        """
        m, transmissions = self.minibatches, range(len(key))
        x = m.test.inputs(rows.expand(len(self.runs), -1), pixel, self.method.traits.networks_per_transmission)
        labels = m.test_y[rows]
        if self.method.traits.averages == "accuracy":
            right = [(self._probabilities(x, key[i]).argmax(dim=-1) == labels).float() for i in transmissions]
            return torch.stack(right).mean(dim=(0, 2)).sum(dim=-1)
        # Averaging the softmax of sampled networks is the paper's test (released code).
        p = sum(self._probabilities(x, key[i]).sum(dim=1) for i in transmissions)
        return (p.argmax(dim=-1) == labels).float().sum(dim=-1)  # type: ignore[union-attr]

    def _probabilities(self, x: Inputs, key: Tensor) -> Tensor:
        """Softmax of the S sampled networks of one transmission, (K, S, B, classes), for their inputs."""
        weights, biases = self.method.transmit(self.state, key)
        networks = self.method.traits.networks_per_transmission
        return self.network.forward(weights, biases, x).softmax(dim=-1).unflatten(0, (-1, networks))

    def _record(
        self, segment: int, loss: Tensor, figures: dict[str, list[Any]], accuracies: dict[int, list[float]], began: float
    ) -> None:
        """Add a segment to the records, and remove members that were dropped or diverged."""
        self._moved = False
        seconds, ended = time.monotonic() - began, time.time()
        finite = torch.stack([t.isfinite().flatten(1).all(dim=1) for t in self.state.values()]).all(dim=0)
        alive = (finite & loss.isfinite()).tolist()
        for k, (run, record, losses) in enumerate(zip(self.runs, self.records, loss.tolist(), strict=True)):
            record.ended.append(ended)
            record.seconds.append(seconds / len(self.runs))
            record.loss.append(losses)
            for name, values in figures.items():
                record.figures.setdefault(name, []).append(values[k])
            record.add_arithmetic(self.minibatches.arithmetic)
            if accuracies:
                tasks = range(self.benchmark.tasks)
                record.accuracy.append([accuracies[j][k] if j in accuracies else None for j in tasks])
            if not alive[k]:
                record.status = "diverged"
                record.reason = f"not a finite number in segment {segment + 1} (seed {run.seed})"
            elif segment + 1 == self.segments:
                record.status = "finished"
            elif self.schedule.task(segment) == 0 and 0 in accuracies and accuracies[0][k] < self.benchmark.drop_below:
                record.status = "dropped"
                record.reason = f"accuracy {accuracies[0][k]:.3f} on task 1 after task 1 is below {self.benchmark.drop_below}"
        self._select([k for k, r in enumerate(self.records) if r.status == "training" or r.status == "finished"])

    def _select(self, members: list[int]) -> None:
        """Go on with some of the members; the others are lost."""
        if len(members) == len(self.runs):
            return
        self.lost += [(self.runs[k], self.records[k]) for k in range(len(self.runs)) if k not in members]
        self.runs = [self.runs[k] for k in members]
        self.run_ids = [self.run_ids[k] for k in members]
        self.records = [self.records[k] for k in members]
        if members:
            self.state = {name: t[members] for name, t in self.state.items()}
            self.minibatches = self.minibatches.select(members)
            self.method = self._make_method()
            self._tests = BufferedFunction(weak_method(self._count_right), self.device)

    def results(self) -> list[tuple[Run, Record]]:
        """The runs that have come to an end, by finishing, being dropped or diverging."""
        return [*self.lost, *((r, d) for r, d in zip(self.runs, self.records, strict=True) if d.status == "finished")]

    @in_plain_torch
    def save(self) -> list[dict[str, Any]]:
        """The state of each run still training, on the host, from which it continues in any packing; views of one copy.

        Raises:
            PresynError: a segment was interrupted, or only measured.
        """
        self._refuse_moved()
        return save_states(self.run_ids, self.records, self.state)

    def _refuse_moved(self) -> None:
        if self._moved:
            raise PresynError("A segment of this cohort was left half trained: make the cohort again of its last saved states.")

    def _restore(self, saved: Sequence[dict[str, Any]]) -> State:
        """The state of all members from saved ones, which are left as they are."""
        cpu, run = torch.device("cpu"), self.runs[0]
        alone = method_class(run.method)([run.options], cpu, False, self.benchmark.batch_size)
        initial = self._with_memory(alone.start(*self.network.initial([run.seed], cpu)))
        self.records = check_states(saved, self.runs, self.run_ids, self.schedule, initial)
        return {name: torch.stack([s["state"][name] for s in saved]).to(self.device) for name in initial}


def _pays_to_compile(schedule: Schedule, network: Network) -> bool:
    return schedule.first_step(schedule.segments) * network.n_weights >= FUSE_FROM


def is_compiled(run: Run, data: Dataset) -> bool:
    """Whether the updates of a run are compiled, where a compiler is at hand."""
    sizes = (data.train_x.shape[1], *run.benchmark.hidden, run.benchmark.classes(data))
    return _pays_to_compile(make_schedule(run, data), Network(sizes))


def refuse_no_runs(runs: Any) -> None:
    """Raise a PresynError for what is not a list of runs."""
    if isinstance(runs, Run):
        raise PresynError("A cohort takes a list of runs: put the run into brackets, [run].")
    if not isinstance(runs, Sequence):
        raise PresynError(f"A cohort takes a list of runs, as make_run makes them, not {runs!r}.")
    if not runs:
        raise PresynError("There are no runs to train: give at least one.")
    for run in runs:
        if not isinstance(run, Run):
            raise PresynError(f"A cohort takes runs, as make_run makes them, not {run!r}.")


def _refuse_unfit(runs: Sequence[Run], data: Dataset) -> None:
    """Raise a PresynError for what cannot be trained as one cohort on these images."""
    refuse_no_runs(runs)
    if not isinstance(data, Dataset):
        raise PresynError(f"A cohort takes images, as load reads them, not {data!r}.")
    if len({run.shape() for run in runs}) != 1:
        raise PresynError("The runs of a cohort must share everything but seeds and varying options.")
    benchmark = runs[0].benchmark
    if data.name != benchmark.dataset:
        raise PresynError(f"{benchmark.name} is on {benchmark.dataset}, not on {data.name}: load('{benchmark.dataset}').")
    patterns = benchmark.patterns // benchmark.tasks
    if benchmark.kind == "patterns" and len(data.train_y) != patterns:
        raise PresynError(f"A task of {benchmark.name} has {patterns} patterns, not {len(data.train_y)}: use its own load().")
    refuse_too_large(runs[0], data)
