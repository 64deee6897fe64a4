"""Rows as CSVs that people read: what a stage used, one line for each run, enough to follow every number back.

The last column is a digest of all that a line says, so that a digit, a label or a seed that was changed is noticed. Files of
earlier versions have none; they are read, and their lines get one when they are next written.
"""

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.records.row import COLUMNS, LABELS, PROVENANCE, ROUNDED, SAID_LATER, Row, digest
from pipeline.records.store import Store
from presyn import PresynError

TEXT = {
    "method", "benchmark", "status", "accuracy", "run_id", "config", "series", "digest", *PROVENANCE, "arithmetic",
    *LABELS, "model", "setting", "part",
} - {"trial", "rules_version", "git_dirty"}  # fmt: skip
"""Columns whose cells are words, even if they look like numbers: a benchmark may be called 2024, 1e3 or null."""
NUMBERS = ("seed", "mean_accuracy", "forgetting", "seconds", "rules_version", "trial")
_FORMULA = re.compile(r"'*[=+\-@]")
"""What a spreadsheet takes for the beginning of a formula, after any apostrophes."""


@dataclass(frozen=True)
class RowsFile:
    """A CSV of rows that was read.

    Attributes:
        cells: As they stand in the file, all of them text.
        frame: The same with numbers as numbers; missing numbers are nan.
        rows: A row for each line.
    """

    cells: pd.DataFrame
    frame: pd.DataFrame
    rows: list[Row]


def rows_csv(rows: Sequence[tuple[dict[str, Any], Row]], kept: pd.DataFrame | None = None) -> str:
    """The text of a CSV with a line for each row, each with its labels, after lines that are kept as they were read.

    Args:
        rows: Labels and row.
        kept: Cells of a `RowsFile`.
    """
    lines = pd.DataFrame([row.line({k: _guarded(v) for k, v in labels.items()}) for labels, row in rows])
    if len(lines):
        lines["benchmark"] = lines.benchmark.map(_guarded)
    cells = _cells(io.StringIO(lines.to_csv(index=False))) if len(lines) else lines
    if kept is not None and len(kept):
        cells = pd.concat([kept, cells], ignore_index=True).fillna("")
    cells = cells.drop(columns=[c for c in ("digest",) if c in cells])
    cells = cells.drop(columns=[c for c in ("series", *SAID_LATER, "arithmetic") if c in cells and (cells[c] == "").all()])
    return cells.assign(digest=[line_digest(line) for line in cells.to_dict("records")]).to_csv(index=False)


def line_digest(line: dict[str, str]) -> str:
    """The digest of a line's cells but for empty ones, so that a column which others need changes none."""
    return digest({column: cell for column, cell in line.items() if cell != "" and column != "digest"})


def _guarded(value: Any) -> Any:
    """A word that a spreadsheet would calculate, with an apostrophe before it; `_unguarded` takes it away again."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _cells(source: Any) -> pd.DataFrame:
    return pd.read_csv(source, dtype=str, keep_default_na=False)


def text_frame(text: str) -> pd.DataFrame:
    """The frame that `read_rows` gives of a CSV with this text; an empty one of no text."""
    return typed(_cells(io.StringIO(text))) if text else pd.DataFrame()


def typed(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells with numbers as numbers, and words as they were before they were guarded.

    Raises:
        ValueError: a cell that must be a number is none.
    """
    columns: dict[str, Any] = {}
    for name in cells:
        column = cells[name]
        if name in TEXT:
            columns[name] = column.map(_unguarded) if name not in COLUMNS or name == "benchmark" else column
        elif name == "git_dirty":
            columns[name] = column.map({"True": True, "False": False})
        elif name not in NUMBERS and len(column) and column.isin(["True", "False"]).all():  # a label that is a truth value
            columns[name] = column == "True"
        else:
            numbers = pd.to_numeric(column.where(column != "", other=float("nan")), errors="coerce")
            is_number = (numbers.notna() | (column == "") | (column == "nan")).all()
            if not is_number and name in NUMBERS:
                raise ValueError(f"{name} {column[numbers.isna() & (column != '')].iloc[0]!r} is no number")
            columns[name] = numbers if is_number else column.map(_unguarded)
    frame = pd.DataFrame(columns, index=cells.index)
    if "series" in frame:
        frame["series"] = frame.series.where(frame.series != "", other=None)
    return frame


def read_rows(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV of runs that presyn wrote, every line of it checked (see `pipeline.records.row.check`), as a frame.

    Raises:
        PresynError: it is none, lacks one of these columns, or a line of it is not a run or was changed.
    """
    return read_file(path, columns).frame


def read_file(path: Path, columns: Sequence[str] = ()) -> RowsFile:
    """The same, with the rows and the cells as they stand in the file."""
    file = _read_content(path, path.read_bytes())
    missing = [c for c in columns if c not in file.cells]
    if missing:
        raise PresynError(f"{path} is not a CSV of runs: it has no column {missing[0]}.")
    return RowsFile(file.cells.copy(), file.frame.copy(), list(file.rows))


@lru_cache(maxsize=256)
def _read_content(path: Path, content: bytes) -> RowsFile:
    """What a file with this content says; a command that needs it several times, as all that make the page, checks it once."""
    try:
        cells = _cells(io.BytesIO(content))
    except UnicodeDecodeError:
        raise PresynError(f"{path} is not a CSV of runs: it is not a text file in UTF-8.") from None
    except (ValueError, pd.errors.ParserError) as e:
        raise PresynError(f"{path} is not a CSV of runs ({str(e).splitlines()[0]}).") from None
    missing = [c for c in ("run_id", "config") if c not in cells]
    if missing:
        raise PresynError(f"{path} is not a CSV of runs: it has no column {missing[0]}.")
    try:
        frame = typed(cells)
    except ValueError as e:
        raise PresynError(f"{path} is not a CSV of runs that presyn wrote: {e}.") from None
    rows = []
    pairs = zip(cells.to_dict("records"), frame.to_dict("records"), strict=True)
    for number, (line_cells, line) in enumerate(pairs, start=2):
        try:
            rows.append(Row.from_line(line))
            if "digest" in cells and line_cells["digest"] != line_digest(line_cells):
                raise ValueError("its digest is not that of what it says: something in it was changed")
        except ValueError as e:
            raise PresynError(
                f"{path}, line {number} is not a run that presyn wrote ({e}). Delete the line, or get the file back from where "
                "it came from."
            ) from None
    return RowsFile(cells, frame, rows)


def refuse_to_drop(
    file: RowsFile, path: Path, columns: Sequence[str], wanted: Iterable[tuple], leaves_out: Callable[[], list[str]] = list
) -> None:
    """Check that writing these runs to a CSV drops none that it holds, before long work starts.

    Args:
        file, path: The CSV as it is.
        columns: What tells its rows apart.
        wanted: The values of these columns of every row that is to be written.
        leaves_out: Gives lines on which rows are not asked for, and why.

    Raises:
        PresynError: a row would be lost.
    """
    kept = {tuple(map(as_cell, values)) for values in wanted}
    lines = file.cells[list(columns)].itertuples(index=False, name=None)
    lost = [line for line in lines if tuple(map(as_cell, line)) not in kept]
    if lost:
        example = ", ".join(f"{c} {_unguarded(v)}" for c, v in zip(columns, lost[0], strict=True))
        left_out = leaves_out()
        reasons = f" It is without {'; without '.join(left_out)}." if left_out else ""
        raise PresynError(
            f"{path} holds {len(lost)} runs that this command would drop, such as {example}.{reasons} Ask for them as well, "
            "write elsewhere (--results, or --rows of presyn run), or delete the file."
        )


def as_cell(value: Any) -> str:
    """A value as it can be compared with that of a CSV, whether it was read as text or is still a number."""
    text = str(_guarded(value))
    try:
        return repr(float(text))
    except ValueError:
        return text


def refuse_twice(frame: pd.DataFrame, columns: Sequence[str], where: object) -> pd.DataFrame:
    """The frame, if no two of its lines are the same run under the same labels, which would count it twice.

    Raises:
        PresynError: two lines are.
    """
    repeated = frame[frame.duplicated(list(columns))] if len(frame) else frame
    if len(repeated):
        example = ", ".join(f"{c} {repeated.iloc[0][c]}" for c in columns)
        raise PresynError(
            f"{where} holds a run twice: {example}. Delete one of the lines, or the file, and run the command again."
        )
    return frame


def holds_rows(path: Path) -> bool:
    """Whether a CSV is one of runs rather than a table, by its header."""
    with path.open(encoding="utf-8", errors="replace") as f:
        return {"run_id", "config"} <= set(f.readline().strip().split(","))


def find_csvs(given: Path) -> list[Path]:
    """A file as it is given, or the CSVs of runs in a folder and below.

    Raises:
        PresynError: a folder holds none.
    """
    if not given.is_dir():
        return [given]
    files = [path for path in sorted(given.rglob("*.csv")) if holds_rows(path)]
    if not files:
        raise PresynError(f"In {given} there is no CSV of runs. Name a file of rows, or a folder that holds some.")
    return files


def import_rows(files: Sequence[Path], store: Store) -> tuple[int, int, list[str]]:
    """Put the runs of such CSVs into the store; one that is there stays as it is, unless a line says more of it.

    Returns:
        Runs added, runs that were there, and the ids of runs of which another row than the one that is in the store now was
        given: one that was trained elsewhere, where the numbers come out a little otherwise.

    Raises:
        PresynError: a line is not a run, was changed, or says something else of a run than another one; nothing is added then.
    """
    rows: dict[str, tuple[Row, str]] = {}
    others: set[str] = set()
    try:
        for file in files:
            for row in read_file(file).rows:
                first, where = rows.setdefault(row.run_id, _stored(row.run_id, store) or (row, str(file)))
                if not says_the_same(row, first):
                    if same_machine(row, first):
                        raise PresynError(
                            f"{file} and {where} say different things of run {row.run_id}: leave one of them out."
                        )
                    others.add(row.run_id)
                elif count_numbers(row) > count_numbers(first):
                    rows[row.run_id] = (row, str(file))
    except PresynError as e:
        raise PresynError(f"{e} Nothing was imported.") from None
    added = 0
    for run_id, (row, _) in rows.items():
        stored = store.get(run_id)
        added += stored is None
        if stored is None or says_the_same(row, stored) and count_numbers(row) > count_numbers(stored):
            store.keep(row)
    return added, len(rows) - added, sorted(others)


def count_numbers(row: Row) -> int:
    """How many numbers a row has of its run: a table's line has no series, and another experiment may have measured more."""

    def count(value: Any) -> int:
        return sum(map(count, value)) if isinstance(value, list) else isinstance(value, (int, float)) and math.isfinite(value)

    return count([row.record.loss, *row.record.figures.values()])


def _stored(run_id: str, store: Store) -> tuple[Row, str] | None:
    row = store.get(run_id)
    return None if row is None else (row, f"the store {store.root}")


def same_machine(row: Row, other: Row) -> bool:
    """Whether two rows were trained where a run comes out the same to every digit, as far as they say: on one machine, its
    CPU of one kind, in the same arithmetic."""
    places = [[r.origin.get(name) for name in ("device", "torch", "host", "processor", "arithmetic")] for r in (row, other)]
    return places[0] == places[1] and places[0][0] == "cpu"


def says_the_same(row: Row, other: Row) -> bool:
    """Whether two rows of one run have the same results, as far as both say them: a line of a CSV rounds, or has no series."""
    ours, theirs = row.record, other.record
    common = ours.figures.keys() & theirs.figures.keys()
    if row.status != other.status or not are_near(ours.accuracy, theirs.accuracy, ROUNDED):
        return False
    if not are_near([row.mean_accuracy, row.forgetting], [other.mean_accuracy, other.forgetting], 1e-9):
        return False
    if not all(are_near(ours.figures[name][-1], theirs.figures[name][-1], ROUNDED) for name in common):
        return False
    have_series = not any(all(map(math.isnan, record.loss)) for record in (ours, theirs))
    series = [[record.loss, *(record.figures[name] for name in sorted(common))] for record in (ours, theirs)]
    return not have_series or are_near(series[0], series[1], 0.0)


def are_near(values: Any, others: Any, slack: float) -> bool:
    """Whether two numbers, or lists of them, are the same but for rounding: to a slack, or to eight digits."""
    if isinstance(values, list) and isinstance(others, list):
        return len(values) == len(others) and all(are_near(*pair, slack) for pair in zip(values, others, strict=True))
    if isinstance(values, int | float) and isinstance(others, int | float):
        return math.isclose(values, others, rel_tol=1e-8, abs_tol=slack) or values != values and others != others
    return values is None and others is None
