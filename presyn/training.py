"""The training loop: a cohort of K runs as one program.

A cohort trains part by part (see `presyn.schedule`), and between parts it can be saved, resumed in any other packing, and lose
members that were dropped or diverged.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from presyn.datasets import Dataset
from presyn.device import TEST_BATCH, refuse_mixed
from presyn.errors import PresynError
from presyn.graph import EAGER, OnBuffers, weakly
from presyn.measures import MEASURES, Moment, check
from presyn.methods import kind_of
from presyn.methods.base import Examples, Method, State
from presyn.network import Network
from presyn.record import Record
from presyn.runs import Run
from presyn.steps import Steps
from presyn.stream import Stream, inputs, to_device
from presyn.streams import Purpose, keys

# Synaptic updates of a run from which compiling pays; of a run, not of its cohort, so that every packing is the same program.
FUSE_FROM = 1e8


class Cohort:
    """K runs of one shape, trained together.

    Args:
        runs: They share method, benchmark and all options that neither vary nor mix (see `presyn.options.option`).
        data: The benchmark's dataset.
        device: Where to train.
        saved: The state of each run as `save` gave it, all after the same number of parts; None to start afresh.
        fuse: Whether to compile the updates; by default when the work ahead is worth the compile time.

    Raises:
        PresynError: runs of different shapes, or saved states that do not fit.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        data: Dataset,
        device: torch.device,
        saved: Sequence[dict[str, Any]] | None = None,
        fuse: bool | None = None,
    ) -> None:
        refuse_mixed(runs, data)
        self.runs = list(runs)
        self.records = [Record() for _ in runs]
        self.removed: list[tuple[Run, Record]] = []
        self.device = device
        self.benchmark = runs[0].benchmark
        self.stream = self._stream(data)
        self.schedule = self.stream.schedule
        self.network = Network((self.stream.pixels, *self.benchmark.hidden, self.stream.classes))
        self.parts = self.schedule.parts
        ahead = self.schedule.first_step(self.parts) * self.network.n_weights
        self.fuse = ahead >= FUSE_FROM if fuse is None else fuse
        self.method = self._method()
        self.state = self._restore(saved) if saved else self._start()
        self._tests = OnBuffers(weakly(self._right), device)
        check(self.benchmark.measures, self.runs[0].method, self.state)

    def _stream(self, data: Dataset) -> Stream:
        joint = kind_of(self.runs[0].method).joint
        return Stream(self.benchmark, data, [r.seed for r in self.runs], joint, self.device)

    def _method(self) -> Method:
        return kind_of(self.runs[0].method)([r.options for r in self.runs], self.device, self.fuse, self.benchmark.batch_size)

    def _start(self) -> State:
        state = self.method.start(*self.network.initial(self.stream.seeds, self.device))
        self.method.randomise(state, keys(self.stream.seeds, Purpose.INITIAL_P).to(self.device))
        return state

    @property
    def part(self) -> int:
        """Parts that are finished."""
        return self.records[0].parts if self.runs else self.parts

    @property
    def done(self) -> bool:
        return self.part >= self.parts

    def train_part(self, tick: Callable[[int], None] = lambda steps: None) -> None:
        """Train the next part, measure and test, and remove members that were dropped or diverged.

        Args:
            tick: Called after each epoch with the steps it took.
        """
        began = time.time()
        part = self.part
        at = self.schedule.first_step(part)
        epochs = self.schedule.epochs_of(part)
        steps = self.steps_of(part)
        raised = steps.count_raises() if "raises" in self.benchmark.measures and part == self.parts - 1 else None
        for epoch in epochs:
            steps.load(epoch, at)
            loss = steps.advance(steps.count, measure_loss=epoch == epochs[-1])
            at += steps.count
            tick(steps.count)
        task = self.schedule.task_of(part)
        ends_task = self.schedule.ends_task(part)
        if ends_task and not self.stream.joint:
            self.method.end_task(self.state, self.network, self._examples(task))
        figures = self._measured(part, None if raised is None else raised / (steps.count * len(epochs)))
        counter = part if self.stream.joint else task
        waiting = {j: self._test_task(counter, j) for j in self.schedule.tested_tasks(part)}
        tested = {j: share.tolist() for j, share in waiting.items()}  # when all are on their way
        self._record(part, loss, figures, tested, began)

    def _measured(self, part: int, raised: Tensor | None) -> dict[str, list[Any]]:
        """What the method describes and the benchmark wants measured after a part: name -> a value for each member."""
        found = dict(self.method.describe(self.state))
        last = part == self.parts - 1
        moment = Moment(self.network, self.method, self.state, self.stream, part, last, raised)
        for name in self.benchmark.measures:
            if last or MEASURES[name].every:
                found |= MEASURES[name].measure(moment)
        return {name: values.tolist() for name, values in found.items()}

    def _examples(self, task: int) -> Iterator[Examples]:
        """The minibatches of the last epoch of a task."""
        s = self.stream
        batches = s.epoch(task, self.benchmark.epochs - 1)
        for i, image in enumerate(batches.image):
            pixel = s.pixel_index(batches.task[i] if isinstance(batches.task, Tensor) else batches.task)
            key = keys(s.seeds, Purpose.FISHER, task, i).to(self.device)
            yield inputs(s.train_x, image, pixel, s.scale, s.offset), s.train_y[image], key

    def steps_of(self, part: int) -> Steps:
        """The training steps of a part, which change this cohort's state."""
        task = self.schedule.task_of(part)
        return Steps(self.stream, self.network, self.method, self.state, task, self.fuse)

    def measure(self, steps: int = 30) -> tuple[float, float]:
        """Seconds that one member takes for a step and for testing an image; moves the state, so throw the cohort away."""
        program = self.steps_of(0)
        program.load(0, 0)
        program.advance(min(2 * EAGER, program.count), measure_loss=False)  # compiles, and captures on a GPU
        program.load(0, 0)
        steps = min(steps, program.count)
        rows = self.stream.test_images(0)[:TEST_BATCH]
        marks = [time.perf_counter()]
        program.advance(steps, measure_loss=False).sum().item()  # as in all epochs of a part but the last
        marks.append(time.perf_counter())
        self._test_batch(0, 0, 0, rows).sum().item()
        marks.append(time.perf_counter())
        return (marks[1] - marks[0]) / steps / len(self.runs), (marks[2] - marks[1]) / len(rows) / len(self.runs)

    def _test_task(self, part: int, task: int) -> Tensor:
        """Accuracy of each member on a task, (K,)."""
        images = self.stream.test_images(task)
        return sum(self._test_batch(part, task, b, rows) for b, rows in enumerate(images.split(TEST_BATCH))) / len(images)  # type: ignore[return-value]

    def _test_batch(self, part: int, task: int, batch: int, rows: Tensor) -> Tensor:
        """How many of these test images each member gets right, (K,)."""
        samples = np.arange(self.method.traits.transmissions_per_test)
        key = to_device(keys(self.stream.seeds, Purpose.TEST_RELEASE, part, task, batch, samples), self.device)
        return self._tests(rows, self.stream.pixel_index(task), key)

    def _right(self, rows: Tensor, pixel: Tensor | None, key: Tensor) -> Tensor:
        """The same for pixels (K, 1, pixels) and a key for each sampled network, (samples, K, 2)."""
        s, samples = self.stream, len(key)
        x = inputs(s.test_x, rows.expand(len(self.runs), -1), pixel, s.scale, s.offset)
        if self.method.traits.averages == "accuracy":
            each = [(self._probabilities(x, key[i]).argmax(dim=-1) == s.test_y[rows]).float() for i in range(samples)]
            return torch.stack(each).mean(dim=(0, 2)).sum(dim=-1)
        # Averaging the softmax of sampled networks is the paper's test (PAPER section 3).
        p = sum(self._probabilities(x, key[i]).sum(dim=1) for i in range(samples))
        return (p.argmax(dim=-1) == s.test_y[rows]).float().sum(dim=-1)  # type: ignore[union-attr]

    def _probabilities(self, x: Tensor, key: Tensor) -> Tensor:
        """Of the sampled networks of a transmission, (K, S, B, classes)."""
        weights, biases = self.method.transmit(self.state, key)
        draws = self.method.traits.networks_per_transmission
        p = self.network.forward(weights, biases, x if draws == 1 else x.repeat_interleave(draws, dim=0)).softmax(dim=-1)
        return p.unflatten(0, (-1, draws))

    def _record(
        self, part: int, loss: Tensor, figures: dict[str, list[Any]], tested: dict[int, list[float]], began: float
    ) -> None:
        ended = time.time()
        finite = torch.stack([t.isfinite().flatten(1).all(dim=1) for t in self.state.values()]).all(dim=0)
        alive = (finite & loss.isfinite()).tolist()
        for k, (run, record, losses) in enumerate(zip(self.runs, self.records, loss.tolist(), strict=True)):
            record.ended.append(ended)
            record.seconds.append((ended - began) / len(self.runs))
            record.loss.append(losses)
            for name, values in figures.items():
                record.figures.setdefault(name, []).append(values[k])
            if tested:
                record.accuracy.append([tested[j][k] if j in tested else None for j in range(self.benchmark.tasks)])
            if not alive[k]:
                record.status = "diverged"
                record.reason = f"not a finite number in part {part + 1} (seed {run.seed})"
            elif part + 1 == self.parts:
                record.status = "finished"
            elif self.schedule.task_of(part) == 0 and 0 in tested and tested[0][k] < self.benchmark.drop_below:
                record.status = "dropped"
                record.reason = f"accuracy {tested[0][k]:.3f} on task 1 after task 1 is below {self.benchmark.drop_below}"
        self._keep([k for k, r in enumerate(self.records) if r.status == "training" or r.status == "finished"])

    def _keep(self, members: list[int]) -> None:
        if len(members) == len(self.runs):
            return
        self.removed += [(self.runs[k], self.records[k]) for k in range(len(self.runs)) if k not in members]
        self.runs = [self.runs[k] for k in members]
        self.records = [self.records[k] for k in members]
        if members:
            self.state = {name: t[members] for name, t in self.state.items()}
            self.stream = self.stream.keep(members)
            self.method = self._method()
            self._tests = OnBuffers(weakly(self._right), self.device)

    def results(self) -> list[tuple[Run, Record]]:
        """The runs that have come to an end, by finishing, being dropped or diverging."""
        return [*self.removed, *((r, d) for r, d in zip(self.runs, self.records, strict=True) if d.status == "finished")]

    def save(self) -> list[dict[str, Any]]:
        """The state of each run still training, on the host, from which it continues in any packing; views of one copy."""
        state = {n: t.to("cpu", copy=True) for n, t in self.state.items()}
        return [{"record": r.as_dict(), "state": {n: t[k] for n, t in state.items()}} for k, r in enumerate(self.records)]

    def _restore(self, saved: Sequence[dict[str, Any]]) -> State:
        self.records = [Record.from_dict(s["record"]) for s in saved]
        if len(saved) != len(self.runs) or len({r.parts for r in self.records}) != 1:
            raise PresynError("Saved states must be one for each run, all after the same number of parts.")
        return {n: torch.stack([s["state"][n] for s in saved]).to(self.device) for n in saved[0]["state"]}
