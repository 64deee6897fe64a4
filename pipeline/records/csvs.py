"""Rows as CSVs that people read: what a stage used, one line per run, enough to follow every number back."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import PresynError


def frame_of(rows: Sequence[tuple[dict[str, Any], Row]], before: pd.DataFrame | None = None) -> pd.DataFrame:
    """A line for each row with its labels, after lines that are kept as they were read."""
    frame = pd.DataFrame([row.line(labels) for labels, row in rows])
    if before is not None and len(before):
        frame = pd.concat([before, frame], ignore_index=True)
    if "series" in frame and frame.series.isna().all():
        return frame.drop(columns="series")
    return frame


def refuse_to_drop(path: Path, columns: Sequence[str], wanted: Iterable[tuple]) -> None:
    """Check that writing these runs to a CSV drops none that it holds, before long work starts.

    Args:
        path: The CSV; it may be missing.
        columns: What tells its rows apart.
        wanted: The values of these columns of every row that is to be written.

    Raises:
        PresynError: a row would be lost.
    """
    if not path.exists():
        return
    there = read_rows(path, columns)[list(columns)].itertuples(index=False, name=None)
    kept = set(wanted)
    lost = [row for row in there if row not in kept]
    if lost:
        such = ", ".join(f"{c} {v}" for c, v in zip(columns, lost[0], strict=True))
        raise PresynError(
            f"{path} holds {len(lost)} runs that this command would drop, such as {such}. Ask for them as well, write "
            "elsewhere (--results, or --rows of presyn run), or delete the file."
        )


def refuse_twice(frame: pd.DataFrame, columns: Sequence[str], where: object) -> pd.DataFrame:
    """The frame, if no two of its lines are the same run under the same labels, which would count it twice.

    Raises:
        PresynError: two lines are.
    """
    twice = frame[frame.duplicated(list(columns))] if len(frame) else frame
    if len(twice):
        such = ", ".join(f"{c} {twice.iloc[0][c]}" for c in columns)
        raise PresynError(
            f"{where} holds a run twice: {such}. Delete one of the lines, or the file, and run the command again."
        )
    return frame


def holds_rows(path: Path) -> bool:
    """Whether a CSV is one of runs rather than a table, by its header."""
    with path.open() as f:
        return {"run_id", "config"} <= set(f.readline().strip().split(","))


def read_rows(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV of runs that presyn wrote, every line of it checked (see `pipeline.records.row.check`).

    Raises:
        PresynError: it is none, lacks one of these columns, or a line of it is not a run or was changed.
    """
    return _read(path, columns)[0]


def _read(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, list[Row]]:
    try:
        frame = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as e:
        raise PresynError(f"{path} is not a CSV of runs ({e}).") from None
    missing = [c for c in (*columns, "run_id", "config") if c not in frame]
    if missing:
        raise PresynError(f"{path} is not a CSV of runs: it has no column {missing[0]}.")
    rows = []
    for number, line in enumerate(frame.to_dict("records"), start=2):
        try:
            rows.append(Row.from_line(line))
        except ValueError as e:
            raise PresynError(
                f"{path}, line {number} is not a run that presyn wrote ({e}). Delete the line, or get the file back from where "
                "it came from."
            ) from None
    return frame, rows


def import_rows(files: Sequence[Path], store: Store) -> tuple[int, int]:
    """Put the runs of such CSVs into the store; one that is there stays as it is.

    Returns:
        Runs added, and runs that were there.

    Raises:
        PresynError: a line is not a run, or was changed; nothing is added then.
    """
    rows: dict[str, Row] = {}
    for file in files:
        try:
            rows |= {row.run_id: row for row in _read(file, [])[1]}
        except PresynError as e:
            raise PresynError(f"{e} Nothing was imported.") from None
    new = [row for run_id, row in rows.items() if store.get(run_id) is None]
    for row in new:
        store.keep(row)
    return len(new), len(rows) - len(new)
