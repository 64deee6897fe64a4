"""Train one cohort to its end, with a checkpoint after each part; what a worker does, and `presyn run` in its own process."""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch

from presyn import MEASURES, PresynError, Run, cohort_of
from presyn.device import memory_of
from presyn.measures import figures_of
from sweeps.checkpoints import Checkpoints, parts_of, read
from sweeps.packing import Member

Ended = list[tuple[str, dict[str, Any]]]
"""Run ids and records of runs that came to an end."""


def standing(run_id: str, run: Run, checkpoints: Checkpoints) -> tuple[Member, dict[str, Any] | None]:
    """A run as a member that goes on from its newest readable checkpoint; and its record if that one is its end."""
    for path in checkpoints.paths(run_id):
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
    members: Sequence[Member],
    checkpoints: Checkpoints,
    data: str | None,
    device: torch.device,
    report: Callable[[int, Ended], None],
) -> None:
    """Train one cohort to its end, checkpointing after each part; one that runs out of memory goes on in two halves.

    Args:
        members: All of one shape and standing.
        checkpoints: Where to write.
        data: The data folder.
        device: Where to train.
        report: Called with the network steps since the last call, and the records of the runs that ended since.

    Raises:
        PresynError: not even one network fits.
    """
    reported: set[str] = set()

    def once(steps: int, ended: Ended) -> None:
        report(steps, [(run_id, record) for run_id, record in ended if run_id not in reported])
        reported.update(run_id for run_id, _ in ended)

    waiting = _that_fit(members, data, device)
    while waiting:
        group = waiting.pop()
        if _train_group(group, checkpoints, data, device, once):
            continue
        if len(group) == 1:
            raise PresynError(f"one network of {group[0].run.benchmark.name} does not fit into the memory of {device}.")
        gc.collect()
        torch.cuda.empty_cache()
        going, ended = standings(group, checkpoints)
        once(0, ended)
        for same in by_parts(going):
            half = (len(same) + 1) // 2
            waiting += [g for g in (same[half:], same[:half]) if g]


def _train_group(
    members: Sequence[Member],
    checkpoints: Checkpoints,
    data: str | None,
    device: torch.device,
    report: Callable[[int, Ended], None],
) -> bool:
    """Train members to their end as one program; False if the device has not enough memory for that."""
    saved = [read(m.checkpoint) for m in members if m.checkpoint]
    ids = {id(m.run): m.run_id for m in members}
    kept: set[str] = set()  # whose end is in a checkpoint
    try:
        cohort = cohort_of([m.run for m in members], members[0].run.benchmark.load(data), device, saved or None)  # type: ignore[arg-type]
        while not cohort.done:
            cohort.train_part(lambda steps: report(steps * len(cohort.runs), []))
            ended = {ids[id(run)]: record.as_dict() for run, record in cohort.results()}
            for run, state in zip(cohort.runs, cohort.save(), strict=True):
                if ids[id(run)] not in ended:
                    checkpoints.save(ids[id(run)], state)
                elif run.benchmark.keep:
                    checkpoints.keep(ids[id(run)], state["state"])
            for run_id in ended.keys() - kept:
                checkpoints.save(run_id, {"record": ended[run_id], "state": None})
            kept |= ended.keys()
            report(0, list(ended.items()))
    except torch.OutOfMemoryError:
        return False
    return True


def _that_fit(members: Sequence[Member], data: str | None, device: torch.device) -> list[list[Member]]:
    """The members in groups that the device's free memory holds, by an estimate; what that misjudges is halved later."""
    free = _free_memory(device)
    if free is None:
        return [list(members)]
    run = members[0].run
    most = max(1, free // memory_of(run, run.benchmark.load(data)))
    return [list(members[i : i + most]) for i in range(0, len(members), most)]


def _free_memory(device: torch.device) -> int | None:
    """Bytes; None on a CPU, whose cohorts are small."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def standings(members: list[Member], checkpoints: Checkpoints) -> tuple[list[Member], Ended]:
    """Where a cohort stands now (a worker of it may have died): members to go on with, and records of those that ended."""
    going: list[Member] = []
    ended: Ended = []
    for m in members:
        member, record = standing(m.run_id, m.run, checkpoints)
        if record:
            ended.append((m.run_id, record))
        else:
            going.append(member)
    return going, ended


def by_parts(members: list[Member]) -> list[list[Member]]:
    return [[m for m in members if m.parts == n] for n in sorted({m.parts for m in members})]
