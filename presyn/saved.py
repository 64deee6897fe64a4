"""Saved states of runs: made of a cohort, and checked before a cohort goes on from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from presyn.errors import PresynError
from presyn.inputs import ARITHMETICS
from presyn.methods.base import State
from presyn.record import Record
from presyn.runs import Run
from presyn.schedule import Segments


def save_states(run_ids: Sequence[str], records: Sequence[Record], state: State) -> list[dict[str, Any]]:
    """The state of each run on the host, with its record and its run id; views of one copy.

    Args:
        run_ids: Of K runs.
        records: What training gave of each so far.
        state: Of all, each tensor (K, …).
    """
    on_host = {name: values.to("cpu", copy=True) for name, values in state.items()}
    return [
        {"run": run_id, "record": record.as_dict(), "state": {name: values[k] for name, values in on_host.items()}}
        for k, (run_id, record) in enumerate(zip(run_ids, records, strict=True))
    ]


def saved_arithmetic(saved: Any) -> str | None:
    """How the first layer multiplied in all of these saved states; None where there are none, or they differ.

    States of earlier versions do not name it: they are dense. What is no saved state is left to `check_states`.
    """
    states = saved if isinstance(saved, Sequence) else ()
    records = [s["record"] for s in states if isinstance(s, Mapping) and isinstance(s.get("record"), Mapping)]
    names = {record.get("arithmetic") or "dense" for record in records if record.get("ended")}
    return names.pop() if len(names) == 1 and names <= {*ARITHMETICS} else None


def check_states(
    saved: Any, runs: Sequence[Run], run_ids: Sequence[str], segments: Segments, initial: Mapping[str, Tensor]
) -> list[Record]:
    """Check that saved states are those of these runs, in their order, from which they can go on; returns their records.

    Args:
        saved: One for each run, as `save_states` gave them.
        runs, run_ids: The runs.
        segments: Of each run.
        initial: The state that one of them begins with, each tensor (1, …).

    Raises:
        PresynError: they are not; says which and why.
    """
    if not isinstance(saved, Sequence) or not all(
        isinstance(s, Mapping) and {"run", "record", "state"} <= s.keys() for s in saved
    ):
        raise PresynError("Saved states must be a list of what Cohort.save gave, one for each run.")
    records = [_check_state(s, run, run_id, segments, initial) for s, run, run_id in zip(saved, runs, run_ids, strict=False)]
    if len(saved) != len(runs) or len({record.segments for record in records}) != 1:
        raise PresynError("Saved states must be one for each run, all after the same number of segments.")
    return records


def _check_state(saved: Mapping[str, Any], run: Run, run_id: str, segments: Segments, initial: Mapping[str, Tensor]) -> Record:
    """Check one saved state; returns its record."""
    name = f"The saved state for {run.method} on {run.benchmark.name} with seed {run.seed}"
    if saved["run"] != run_id:
        raise PresynError(
            f"{name} is one of another run, {saved['run']!r} and not {run_id!r}: give each run its own, in order."
        )
    try:
        if not isinstance(saved["record"], Mapping) or not Record.is_whole(saved["record"]):
            raise ValueError("it is not whole")
        record = Record.from_dict(saved["record"])
        segments.check(record)
        if record.status not in ("training", "finished"):
            raise ValueError(f"the run was {record.status}")
    except (ValueError, TypeError, LookupError, AttributeError) as e:
        raise PresynError(f"{name} has a record that training cannot have given: {e}.") from None
    state = saved["state"]
    if not isinstance(state, Mapping) or state.keys() != initial.keys():
        raise PresynError(f"{name} must hold the tensors {', '.join(initial)}: it is one of other options, or damaged.")
    for tensor, values in state.items():
        expected = initial[tensor][0]
        if not isinstance(values, Tensor) or values.layout != torch.strided:
            raise PresynError(f"{name} holds no tensor {tensor}: it is damaged.")
        if values.shape != expected.shape or values.dtype != expected.dtype:
            found = f"{tuple(values.shape)} of {values.dtype}, not {tuple(expected.shape)} of {expected.dtype}"
            raise PresynError(f"{name} is one of other options: its {tensor} is {found}.")
        if not values.isfinite().all():
            raise PresynError(f"{name} is damaged: its {tensor} has numbers that are not finite, with which no run goes on.")
    return record
