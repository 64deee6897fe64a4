"""Train one cohort to its end, with a checkpoint after each part; what a worker does, and `presyn run` in its own process."""

import gc
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import torch

from presyn import MEASURES, Benchmark, Cohort, PresynError, Run, make_cohort
from presyn.datasets import Dataset
from presyn.device import memory_needed, usable_memory
from presyn.graph import out_of_memory
from presyn.measures import figure_names
from sweeps.checkpoint_files import forget, read
from sweeps.checkpoints import Checkpoints
from sweeps.packing import Member

Ended = list[tuple[str, dict[str, Any]]]
"""Run ids and records of runs that came to an end."""
Report = Callable[[int, Ended], Collection[str]]
Load = Callable[[Benchmark], Dataset]


def resume_run(
    run_id: str, run: Run, checkpoints: Checkpoints, paths: Iterable[Any] | None = None
) -> tuple[Member, dict[str, Any] | None]:
    """A run as a member that goes on from its newest readable checkpoint; and its record if that one is its end.

    Args:
        run_id, run: The run.
        checkpoints: Where it may have some.
        paths: Those that it has, the latest first, if they are known.
    """
    for path in checkpoints.paths(run_id) if paths is None else paths:
        saved = (read(path) or {}).get(run_id)
        if saved is not None and _measured(saved["record"], run):
            ended = saved["record"] if saved["state"] is None else None
            return Member(run_id, run, path, len(saved["record"]["ended"])), ended
    return Member(run_id, run), None


def _measured(record: dict[str, Any], run: Run) -> bool:
    """Whether what is wanted of a run was measured up to its checkpoint; another command may have wanted less."""
    ended = record["status"] == "finished"
    wanted = figure_names(m for m in run.benchmark.measures if MEASURES[m].every or ended)
    return record["status"] in ("dropped", "diverged") or wanted <= record["figures"].keys()


def train_members(
    members: Sequence[Member], checkpoints: Checkpoints, load: Load, device: torch.device, report: Report, share: float = 1.0
) -> None:
    """Train one cohort to its end, checkpointing after each part; one that runs out of memory goes on in two halves.

    Args:
        members: All of one shape and resume_run.
        checkpoints: Where to write.
        load: The images of a benchmark.
        device: Where to train.
        report: Called after each part with the network steps it took and the records of the runs that ended with it; returns
            the ids of runs that are left to another worker from now on.
        share: Of a GPU, which this process was given.

    Raises:
        PresynError: not even one network fits.
    """
    reported, left = set[str](), set[str]()

    def once(steps: int, ended: Ended) -> Collection[str]:
        left.update(report(steps, [(i, record) for i, record in ended if i not in reported]))
        reported.update(i for i, _ in ended)
        return left

    waiting = _that_fit(members, load, device, share)
    while waiting:
        group = [m for m in waiting.pop() if m.run_id not in left]
        end = _train_group(group, checkpoints, load, device, once) if group else DONE
        if end == NO_MEMORY:
            _free(group, device)
        if end != DONE:
            going, ended = resume_cohort([m for m in group if m.run_id not in left], checkpoints)
            if ended:
                once(0, ended)
            for same in by_parts(going):
                half = (len(same) + 1) // 2 if end == NO_MEMORY else len(same)
                waiting += [g for g in (same[half:], same[:half]) if g]


def _free(group: Sequence[Member], device: torch.device) -> None:
    if len(group) == 1:
        raise PresynError(f"one network of {group[0].run.benchmark.name} does not fit into the memory of {device}.")
    gc.collect()
    torch.cuda.empty_cache()


DONE, NO_MEMORY, SOME_LEFT = "done", "no memory", "some left"


class _Parts:
    """The parts of a cohort on their way: the checkpoint of one is written while the next one is trained.

    A part is reported as soon as its checkpoint is written.
    """

    def __init__(self, members: Sequence[Member], checkpoints: Checkpoints, report: Report, beside: Executor) -> None:
        self.ids = {id(m.run): m.run_id for m in members}
        self.checkpoints, self.report, self.beside = checkpoints, report, beside
        self.left = set[str]()
        self.steps = 0
        self._written: Future | None = None
        self._made: tuple[int, Ended] = (0, [])

    def settle(self, wait: bool) -> None:
        """Report the latest part if its checkpoint is written."""
        if self._written is not None and (wait or self._written.done()):
            written, self._written = self._written, None
            written.result()
            self.left.update(self.report(*self._made))

    def write(self, cohort: Cohort) -> set[str]:
        """Begin to write the part that a cohort has made; returns the runs that go on."""
        self.settle(wait=True)
        ended = {self.ids[id(run)]: record.as_dict() for run, record in cohort.results()}
        states = {self.ids[id(run)]: saved for run, saved in zip(cohort.runs, cohort.save(), strict=True)}
        keep = {i: states[i]["state"] for i in states.keys() & ended.keys() if cohort.benchmark.keep}
        going = states.keys() - ended.keys()
        states |= {run_id: {"record": record, "state": None} for run_id, record in ended.items()}
        self._written = self.beside.submit(_save, self.checkpoints, states, sorted(self.ids.values()), keep)
        self._made, self.steps = (self.steps, list(ended.items())), 0
        return going


def _train_group(members: Sequence[Member], checkpoints: Checkpoints, load: Load, device: torch.device, report: Report) -> str:
    """Train members as one program, to their end if the device has memory for that and none is left to another worker."""
    with ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as beside:
        parts = _Parts(members, checkpoints, report, beside)

        def count(steps: int) -> None:
            parts.steps += steps * len(cohort.runs)
            parts.settle(wait=False)

        try:
            cohort = make_cohort([m.run for m in members], load(members[0].run.benchmark), device, _saved(members) or None)
            while not cohort.done:
                cohort.train_segment(count)
                going = parts.write(cohort)
                if cohort.done or parts.left & going:
                    parts.settle(wait=True)
                if parts.left & going:
                    return SOME_LEFT
        except RuntimeError as e:
            if not out_of_memory(e):
                raise
            parts.settle(wait=True)
            return NO_MEMORY
    return DONE


def _saved(members: Sequence[Member]) -> list[dict[str, Any]]:
    """What the checkpoints of members hold of them."""
    found = [(read(m.checkpoint) or {})[m.run_id] for m in members if m.checkpoint]
    forget()
    return found


def _save(
    checkpoints: Checkpoints, states: dict[str, Any], cohort: list[str], keep: dict[str, dict[str, torch.Tensor]]
) -> None:
    for run_id, state in keep.items():
        checkpoints.keep(run_id, {name: values.clone() for name, values in state.items()})
    checkpoints.save(states, cohort)


def _that_fit(members: Sequence[Member], load: Load, device: torch.device, share: float) -> list[list[Member]]:
    """The members in groups that the device's free memory holds, by an estimate; what that misjudges is halved later."""
    free = usable_memory(device, share)
    if free is None:
        return [list(members)]
    run = members[0].run
    most = max(1, free // memory_needed(run, load(run.benchmark)))
    return [list(members[i : i + most]) for i in range(0, len(members), most)]


def resume_cohort(members: Sequence[Member], checkpoints: Checkpoints) -> tuple[list[Member], Ended]:
    """Where a cohort stands now (a worker of it may have died): members to go on with, and records of those that ended."""
    going: list[Member] = []
    ended: Ended = []
    index = checkpoints.index()
    for m in members:
        member, record = resume_run(m.run_id, m.run, checkpoints, index.get(m.run_id, ()))
        if record:
            ended.append((m.run_id, record))
        else:
            going.append(member)
    return going, ended


def by_parts(members: list[Member]) -> list[list[Member]]:
    return [[m for m in members if m.parts == n] for n in sorted({m.parts for m in members})]
