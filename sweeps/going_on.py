"""Go on from the end of a run that is the same on fewer tasks, as the survivors of successive halving do.

Every random number is hashed from the seed and what it is for, so the first tasks of a run are the same bits whether more
follow or not. A run that ended as wanted leaves its state (see `Checkpoints.paused`), and the longer run begins there, with the
record that it would have had.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from presyn import Record, Run
from presyn.datasets import Dataset
from presyn.methods import method_class
from presyn.runs import identify
from presyn.schedule import make_segments
from presyn.training import is_compiled
from sweeps.checkpoints import Checkpoints, read_file


def is_beginning(shorter: Run, longer: Run, data: Dataset) -> bool:
    """Whether a run on fewer tasks goes through the same states, bit for bit, as a longer one does on these tasks."""
    tasks = shorter.benchmark.tasks
    return (
        tasks < longer.benchmark.tasks
        and longer.benchmark.kind in ("split", "permuted")
        and not method_class(longer.method).joint
        and not longer.benchmark.measures  # at its end a run measures with more passes
        and replace(shorter, benchmark=replace(shorter.benchmark, tasks=longer.benchmark.tasks)) == longer
        and is_compiled(shorter, data) == is_compiled(longer, data)
    )


def record_so_far(ended: Mapping[str, Any], longer: Run) -> dict[str, Any] | None:
    """The record that a longer run has after the tasks of a shorter one; None if it would have been dropped there.

    Args:
        ended: The record of the shorter run, as plain values.
        longer: The longer run.
    """
    segments, record = make_segments(longer), Record.from_dict(ended)
    ends = [s for s in range(segments.segments) if segments.ends_task(s)]
    if len(record.accuracy) == 1 and (record.accuracy[0][0] or 0.0) < longer.benchmark.drop_below:
        return None
    tasks = range(longer.benchmark.tasks)
    record.accuracy = [
        [row[j] if j in segments.tested_tasks(end) else None for j in tasks]
        for row, end in zip(record.accuracy, ends, strict=False)
    ]
    record.status = "training"
    segments.check(record)
    return record.as_dict()


def begin_longer_runs(
    runs: Mapping[str, Run], shorter: Mapping[str, tuple[str, Run]], checkpoints: Checkpoints, data: Mapping[str, Dataset]
) -> None:
    """Write the first checkpoints of runs that go on from others; where these left no state, a run begins at its start.

    Args:
        runs: Run id -> run, of those that are to be trained.
        shorter: Run id -> the id and the run that it goes on from.
        checkpoints: Where they are.
        data: Run id -> its images.
    """
    index = checkpoints.index() if shorter else {}
    for run_id, (shorter_id, run) in shorter.items():
        longer = runs.get(run_id)
        if longer is None or run_id in index or not is_beginning(run, longer, data[run_id]):
            continue
        for path in index.get(shorter_id, ()):
            saved = (read_file(path) or {}).get(shorter_id)
            if saved is None or saved["state"] is None or saved["record"]["status"] != "finished":
                continue
            record = record_so_far(saved["record"], longer)
            if record is not None:
                identity = identify(longer.config(), data[run_id].sha256)
                checkpoints.save({run_id: {"run": identity, "record": record, "state": saved["state"]}})
            break
