"""Train one cohort to its end, with a checkpoint after each part; what a worker does, and `presyn run` in its own process."""

import gc
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch

from presyn import MEASURES, Benchmark, PresynError, Run, cohort_of
from presyn.datasets import Dataset
from presyn.device import memory_of, usable_on
from presyn.graph import out_of_memory
from presyn.measures import figures_of
from sweeps.checkpoints import Checkpoints, parts_of, read
from sweeps.packing import Member

Ended = list[tuple[str, dict[str, Any]]]
"""Run ids and records of runs that came to an end."""
Report = Callable[[int, Ended], Collection[str]]
Load = Callable[[Benchmark], Dataset]


def standing(
    run_id: str, run: Run, checkpoints: Checkpoints, paths: Iterable[Any] | None = None
) -> tuple[Member, dict[str, Any] | None]:
    """A run as a member that goes on from its newest readable checkpoint; and its record if that one is its end.

    Args:
        run_id, run: The run.
        checkpoints: Where it may have some.
        paths: Those that it has, the latest first, if they are known.
    """
    for path in checkpoints.paths(run_id) if paths is None else paths:
        saved = read(path)
        if saved is not None and _measured(saved["record"], run):
            ended = saved["record"] if saved["state"] is None else None
            return Member(run_id, run, path, parts_of(path)), ended
    return Member(run_id, run), None


def _measured(record: dict[str, Any], run: Run) -> bool:
    """Whether what is wanted of a run was measured up to its checkpoint; another command may have wanted less."""
    ended = record["status"] == "finished"
    wanted = figures_of(m for m in run.benchmark.measures if MEASURES[m].every or ended)
    return record["status"] in ("dropped", "diverged") or wanted <= record["figures"].keys()


def train_members(
    members: Sequence[Member], checkpoints: Checkpoints, load: Load, device: torch.device, report: Report, share: float = 1.0
) -> None:
    """Train one cohort to its end, checkpointing after each part; one that runs out of memory goes on in two halves.

    Args:
        members: All of one shape and standing.
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
            going, ended = standings([m for m in group if m.run_id not in left], checkpoints)
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


def _train_group(members: Sequence[Member], checkpoints: Checkpoints, load: Load, device: torch.device, report: Report) -> str:
    """Train members as one program, to their end if the device has memory for that and none is left to another worker."""
    saved = [read(m.checkpoint) for m in members if m.checkpoint]
    ids = {id(m.run): m.run_id for m in members}
    kept: set[str] = set()  # whose end is in a checkpoint
    steps = 0

    def count(more: int) -> None:
        nonlocal steps
        steps += more * len(cohort.runs)

    try:
        cohort = cohort_of([m.run for m in members], load(members[0].run.benchmark), device, saved or None)  # type: ignore[arg-type]
        while not cohort.done:
            cohort.train_part(count)
            ended = {ids[id(run)]: record.as_dict() for run, record in cohort.results()}
            for run, state in zip(cohort.runs, cohort.save(), strict=True):
                if ids[id(run)] not in ended:
                    checkpoints.save(ids[id(run)], state)
                elif run.benchmark.keep:
                    checkpoints.keep(ids[id(run)], state["state"])
            for run_id in ended.keys() - kept:
                checkpoints.save(run_id, {"record": ended[run_id], "state": None})
            kept |= ended.keys()
            left = report(steps, list(ended.items()))
            steps = 0
            if set(left) & (set(ids.values()) - kept) and not cohort.done:
                return SOME_LEFT
    except RuntimeError as e:
        if not out_of_memory(e):
            raise
        return NO_MEMORY
    return DONE


def _that_fit(members: Sequence[Member], load: Load, device: torch.device, share: float) -> list[list[Member]]:
    """The members in groups that the device's free memory holds, by an estimate; what that misjudges is halved later."""
    free = usable_on(device, share)
    if free is None:
        return [list(members)]
    run = members[0].run
    most = max(1, free // memory_of(run, load(run.benchmark)))
    return [list(members[i : i + most]) for i in range(0, len(members), most)]


def standings(members: Sequence[Member], checkpoints: Checkpoints, known: bool = False) -> tuple[list[Member], Ended]:
    """Where a cohort stands now (a worker of it may have died): members to go on with, and records of those that ended.

    Args:
        members: The cohort.
        checkpoints: Where they may have some.
        known: Whether the members say where they stood not more than a part ago; then the folder is not looked through.
    """
    going: list[Member] = []
    ended: Ended = []
    for m in members:
        member, record = standing(m.run_id, m.run, checkpoints, _likely(m, checkpoints) if known else None)
        if known and m.parts and not member.checkpoint:  # it is damaged or gone
            member, record = standing(m.run_id, m.run, checkpoints)
        if record:
            ended.append((m.run_id, record))
        else:
            going.append(member)
    return going, ended


def _likely(member: Member, checkpoints: Checkpoints) -> list[Any]:
    """The checkpoints of a member that stood after some part not long ago, the latest first."""
    mine = [checkpoints.path(member.run_id, parts) for parts in (member.parts + 1, member.parts)]
    return [*(p for p in mine if p.exists()), *([member.checkpoint] if member.checkpoint else [])]


def by_parts(members: list[Member]) -> list[list[Member]]:
    return [[m for m in members if m.parts == n] for n in sorted({m.parts for m in members})]
