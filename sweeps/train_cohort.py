"""Train one cohort to its end, with a checkpoint after each segment: what a worker does, and `presyn run` in its process."""

import gc
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from enum import Enum
from typing import Any

import torch

from presyn import MEASURES, Benchmark, Cohort, PresynError, Record, Run, make_cohort
from presyn.datasets import Dataset
from presyn.device import memory_needed, usable_memory
from presyn.graph import out_of_memory
from presyn.measures import figure_names
from presyn.measures.overlap import MEMORY
from presyn.schedule import make_segments
from sweeps.checkpoints import Checkpoints, forget_files, read_file
from sweeps.cluster import provenance_here
from sweeps.packing import Member

End = tuple[dict[str, Any], dict[str, Any]]
"""The record of a run that came to its end, and where it was trained."""
Ended = list[tuple[str, dict[str, Any], dict[str, Any]]]
"""Run id, record and where it was trained, of runs that came to an end."""
Report = Callable[[int, Ended], Collection[str]]
"""Called after each segment with the network steps that it took and the runs that ended with it; returns the ids of runs that
are left to another worker from now on."""
Load = Callable[[Benchmark], Dataset]
"""Gives the images of a benchmark."""


def resume_run(
    run_id: str, run: Run, checkpoints: Checkpoints, paths: Iterable[Any] | None = None
) -> tuple[Member, End | None]:
    """A run as a member that goes on from its newest readable checkpoint; and its end if that checkpoint is its last.

    Args:
        run_id, run: The run.
        checkpoints: Where it may have some.
        paths: Its checkpoints, the latest first; None looks for them.
    """
    for path in checkpoints.paths(run_id) if paths is None else paths:
        saved = (read_file(path) or {}).get(run_id)
        if saved is not None and _is_usable(saved["record"], run):
            # A checkpoint of an earlier version does not say where it was trained.
            end = (saved["record"], saved.get("where", {})) if saved["record"]["status"] != "training" else None
            return Member(run_id, run, path, len(saved["record"]["ended"])), end
    return Member(run_id, run), None


def _is_usable(values: dict[str, Any], run: Run) -> bool:
    """Whether training the run can have given this record, and all that is wanted of it was measured up to its checkpoint.

    Another command may have wanted less.
    """
    record = Record.from_dict(values)
    try:
        if not Record.is_whole(values):
            raise ValueError("it is not whole")
        make_segments(run).check(record)
    except ValueError:
        return False
    wanted = figure_names(m for m in run.benchmark.measures if MEASURES[m].every or record.status == "finished")
    return record.status in ("dropped", "diverged") or wanted <= record.figures.keys()


def resume_cohort(members: Sequence[Member], checkpoints: Checkpoints) -> tuple[list[Member], Ended]:
    """Where a cohort stands now, as a worker of it may have died: members to go on with, and records of those that ended."""
    remaining: list[Member] = []
    ended: Ended = []
    index = checkpoints.index()
    for m in members:
        member, end = resume_run(m.run_id, m.run, checkpoints, index.get(m.run_id, ()))
        if end:
            ended.append((m.run_id, *end))
        else:
            remaining.append(member)
    return remaining, ended


def group_by_segments(members: list[Member]) -> list[list[Member]]:
    """Members in groups that have the same number of segments behind them."""
    return [[m for m in members if m.segments == n] for n in sorted({m.segments for m in members})]


class Outcome(Enum):
    """How the training of a cohort as one program came to its end."""

    DONE = "all members are at their end"
    NO_MEMORY = "the device has no memory for it"
    GIVEN_AWAY = "some members are left to another worker"
    RAISED = "the rule of a member raised an exception"
    GONE = "a checkpoint was removed after it was looked for"


class _RuleError(Exception):
    """Training raised an exception that is no message for users; its text is one line that names it."""


def train_members(
    members: Sequence[Member],
    checkpoints: Checkpoints,
    load: Load,
    device: torch.device,
    report: Report,
    share: float = 1.0,
    arithmetic: str | None = None,
) -> dict[str, str]:
    """Train one cohort to its end, checkpointing after each segment.

    One that runs out of memory, or whose training raises an exception, goes on in two halves.

    Args:
        members: All of one shape, with the same number of segments behind them.
        checkpoints: Where to write.
        load: Gives the images.
        device: Where to train.
        report: Hears of each segment.
        share: The share of a GPU that this process was given.
        arithmetic: How the first layer multiplies, as of a `Cohort`.

    Returns:
        Run id -> the exception that its training raises, in one line with its configuration.

    Raises:
        PresynError: not even one network fits.
    """
    failed: dict[str, str] = {}
    reported, given_away = set[str](), set[str]()

    def report_once(steps: int, ended: Ended) -> Collection[str]:
        given_away.update(report(steps, [end for end in ended if end[0] not in reported]))
        reported.update(run_id for run_id, _, _ in ended)
        return given_away

    waiting = _cut_to_memory(members, load, device, share)
    while waiting:
        group = [m for m in waiting.pop() if m.run_id not in given_away]
        try:
            outcome = _train_group(group, checkpoints, load, device, report_once, arithmetic) if group else Outcome.DONE
        except _RuleError as e:
            outcome = Outcome.RAISED
            if len(group) == 1:
                failed[group[0].run_id] = f"{e}, with {_describe_run(group[0].run)}"
                continue
        if outcome is Outcome.NO_MEMORY:
            _free_memory(group, device)
        if outcome is not Outcome.DONE:
            remaining, ended = resume_cohort([m for m in group if m.run_id not in given_away], checkpoints)
            if ended:
                report_once(0, ended)
            for same in group_by_segments(remaining):
                half = (len(same) + 1) // 2 if outcome in (Outcome.NO_MEMORY, Outcome.RAISED) else len(same)
                waiting += [g for g in (same[half:], same[:half]) if g]
    return failed


def _describe_run(run: Run) -> str:
    """A run in a few words: what it is and the options that tell it from others of its cohort."""
    varying = {name: getattr(run.options, name) for name in run.options.varying()}
    options = ", ".join(f"{name} {value:.6g}" for name, value in varying.items())
    return f"{run.method} on {run.benchmark.name}, seed {run.seed}, {options}"


def _cut_to_memory(members: Sequence[Member], load: Load, device: torch.device, share: float) -> list[list[Member]]:
    """The members in groups that the device's free memory holds, by an estimate; what that misjudges is halved later."""
    free = usable_memory(device, share)
    if free is None:
        return [list(members)]
    run = members[0].run
    most = max(1, free // memory_needed(run, load(run.benchmark)))
    return [list(members[i : i + most]) for i in range(0, len(members), most)]


def _free_memory(group: Sequence[Member], device: torch.device) -> None:
    """Free what a group that did not fit has taken, before its halves are trained."""
    if len(group) == 1:
        raise PresynError(f"one network of {group[0].run.benchmark.name} does not fit into the memory of {device}.")
    gc.collect()
    torch.cuda.empty_cache()


class _SegmentWriter:
    """Writes the checkpoint of one segment while the next one is trained, and reports a segment as soon as it is written.

    Args:
        members: The cohort.
        checkpoints: Where to write.
        device: Where it is trained.
        report: Hears of each segment.
        thread: Which writes.

    Attributes:
        steps: Network steps of the segment that is being trained.
        given_away: Ids of runs that are left to another worker.
        settling: Whether a segment is being reported.
    """

    def __init__(
        self, members: Sequence[Member], checkpoints: Checkpoints, device: torch.device, report: Report, thread: Executor
    ) -> None:
        self.ids = {id(m.run): m.run_id for m in members}
        self.device = device
        self.checkpoints, self.report, self.thread = checkpoints, report, thread
        self.given_away = set[str]()
        self.steps = 0
        self.settling = False
        self._writing: Future | None = None
        self._unreported: tuple[int, Ended] = (0, [])

    def settle(self, wait: bool) -> None:
        """Report the latest segment if its checkpoint is written, or when it is."""
        if self._writing is not None and (wait or self._writing.done()):
            writing, self._writing = self._writing, None
            self.settling = True  # what is raised from here on is not the fault of a rule
            writing.result()
            self.given_away.update(self.report(*self._unreported))
            self.settling = False

    def write(self, cohort: Cohort) -> set[str]:
        """Begin to write the segment that a cohort has made; returns the ids of the runs that go on."""
        self.settle(wait=True)
        ended = {self.ids[id(run)]: record.as_dict() for run, record in cohort.results()}
        saved = {self.ids[id(run)]: s for run, s in zip(cohort.runs, cohort.save(), strict=True)}
        final_states = {i: saved[i]["state"] for i in saved.keys() & ended.keys() if cohort.benchmark.keep}
        where = provenance_here(self.device, len(self.ids)) if ended else {}
        remaining = saved.keys() - ended.keys()
        stateless = ended.keys() - (saved.keys() & self.checkpoints.paused)
        saved |= {run_id: {"record": ended[run_id], "state": None} for run_id in stateless}
        saved |= {run_id: {**saved[run_id], "where": where} for run_id in ended}
        self._writing = self.thread.submit(_save, self.checkpoints, saved, sorted(self.ids.values()), final_states)
        self._unreported, self.steps = (self.steps, [(run_id, record, where) for run_id, record in ended.items()]), 0
        return remaining


def _save(
    checkpoints: Checkpoints,
    saved: dict[str, Any],
    cohort: list[str],
    final_states: dict[str, dict[str, torch.Tensor]],
) -> None:
    for run_id, state in final_states.items():
        # What measurements remembered is not kept: a network is the same whatever was measured of it.
        checkpoints.keep(run_id, {name: values.clone() for name, values in state.items() if name not in MEMORY})
    checkpoints.save(saved, cohort)


def _train_group(
    members: Sequence[Member],
    checkpoints: Checkpoints,
    load: Load,
    device: torch.device,
    report: Report,
    arithmetic: str | None,
) -> Outcome:
    """Train members as one program, to their end if the device has memory for that and none is left to another worker."""
    with ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as thread:
        writer = _SegmentWriter(members, checkpoints, device, report, thread)

        def count_steps(steps: int) -> None:
            writer.steps += steps * len(cohort.runs)
            writer.settle(wait=False)

        # Errors of files and messages for users are raised as they are, but not while a method's own code may have raised them.
        raised_as_they_are: tuple[type[Exception], ...] = (OSError, PresynError)
        try:
            runs, data = [m.run for m in members], load(members[0].run.benchmark)
            saved = _read_saved(members)
            if saved is not None and len(saved) < len(runs):
                return Outcome.GONE
            raised_as_they_are = (PresynError,)  # of runs that do not make a cohort
            cohort = make_cohort(runs, data, device, saved, arithmetic)
            while not cohort.done:
                raised_as_they_are = ()
                cohort.train_segment(count_steps)
                raised_as_they_are = (OSError, PresynError)
                remaining = writer.write(cohort)
                if cohort.done or writer.given_away & remaining:
                    writer.settle(wait=True)
                if writer.given_away & remaining:
                    return Outcome.GIVEN_AWAY
        except Exception as e:
            if writer.settling or isinstance(e, raised_as_they_are):
                raise
            if out_of_memory(e):
                writer.settle(wait=True)
                return Outcome.NO_MEMORY
            if device.type != "cpu" and isinstance(e, RuntimeError):  # it may be the device's, which fails for all from now on
                raise
            writer.settle(wait=True)
            lines = [line.strip() for line in str(e).splitlines() if line.strip()]
            raise _RuleError(f"{type(e).__name__}: {lines[-1]}" if lines else type(e).__name__) from e
    return Outcome.DONE


def _read_saved(members: Sequence[Member]) -> list[dict[str, Any]] | None:
    """What the checkpoints of members hold of them, without those whose file is gone by now; None where they have none."""
    files = [(m.run_id, read_file(m.checkpoint) or {}) for m in members if m.checkpoint]
    forget_files()
    # A checkpoint of an earlier version names a run only once, in front of what was saved of it.
    return [{"run": run_id, **saved[run_id]} for run_id, saved in files if run_id in saved] if files else None
