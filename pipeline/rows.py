"""Rows as a CSV that people read: what a stage used, one line per run, enough to follow every number back."""

import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.store import ENDS, Row, Store
from presyn import PresynError
from presyn.runs import identify

NOT_FIGURES = {
    *("stage", "trial", "parameters", "ablation", "method", "benchmark", "seed", "status", "mean_accuracy", "forgetting"),
    *("seconds", "accuracy", "run_id", "config"),
}
PROVENANCE = ("git_commit", "git_dirty", "rules_version", "data_sha256", "torch", "host", "device")


def flat(row: Row, extra: dict[str, Any]) -> dict[str, Any]:
    """A row as one line; the accuracy matrix and the configuration are JSON."""
    config, provenance = row["config"], row["provenance"]
    return {
        **extra,
        "method": config["method"],
        "benchmark": config["benchmark"],
        "seed": config["seed"],
        "status": row["status"],
        "mean_accuracy": row["mean_accuracy"],
        "forgetting": row["forgetting"],
        "seconds": round(sum(row["seconds"]), 1),
        "accuracy": json.dumps([[None if a is None else round(a, 4) for a in r] for r in row["accuracy"]]),
        **{k: round(v[-1], 4) for k, v in row["figures"].items()},
        "run_id": row["run_id"],
        **{k: provenance.get(k) for k in PROVENANCE},
        "config": json.dumps(config, sort_keys=True),
    }


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


def export(path: Path, rows: Sequence[tuple[Row, dict[str, Any]]], before: pd.DataFrame | None = None) -> pd.DataFrame:
    """Write rows with their extra columns to a CSV, after lines that are kept as they were read."""
    frame = pd.DataFrame([flat(row, extra) for row, extra in rows])
    if before is not None and len(before):
        frame = pd.concat([before, frame], ignore_index=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return frame


def restore(line: dict[str, Any]) -> Row:
    """The row that `flat` made a line of. A line has the last of the figures, the sum of the seconds, and no loss.

    Raises:
        ValueError, LookupError, TypeError, ArithmeticError: it is not such a line, or was changed.
    """
    config, accuracy = json.loads(line["config"]), json.loads(line["accuracy"])
    if line["status"] not in ENDS:
        raise ValueError(f"its status is not one of {', '.join(ENDS)}")
    if line["run_id"] != identify(config, line["data_sha256"], int(line["rules_version"])):
        raise ValueError("its run_id is not that of its configuration")
    finished = line["status"] == "finished"
    if finished and not abs(sum(accuracy[-1]) / len(accuracy[-1]) - line["mean_accuracy"]) <= 1e-4:
        raise ValueError("its mean_accuracy is not that of its accuracies")
    parts = max(1, len(accuracy))
    unknown = [math.nan] * (parts - 1)
    known = {*NOT_FIGURES, *PROVENANCE}
    figures = {k: v for k, v in line.items() if k not in known and isinstance(v, float) and v == v}
    return {
        "run_id": line["run_id"],
        "config": config,
        "provenance": {k: line[k] for k in PROVENANCE},
        "status": line["status"],
        "reason": "" if finished else "said where it was trained",
        "accuracy": accuracy,
        "loss": [math.nan] * parts,
        "figures": {k: [*unknown, v] for k, v in figures.items()},
        "seconds": [0.0] * (parts - 1) + [float(line["seconds"])],
        "ended": [time.time()] * parts,
        "mean_accuracy": line["mean_accuracy"] if finished else None,
        "forgetting": None if line["forgetting"] != line["forgetting"] else line["forgetting"],
    }


def holds_rows(path: Path) -> bool:
    """Whether a CSV is one of runs rather than a table, by its header."""
    with path.open() as f:
        return {"run_id", "config"} <= set(f.readline().strip().split(","))


def read_rows(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV of runs that presyn wrote.

    Raises:
        PresynError: it is none, or lacks one of these columns.
    """
    try:
        frame = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as e:
        raise PresynError(f"{path} is not a CSV of runs ({e}).") from None
    missing = [c for c in columns if c not in frame]
    if missing:
        raise PresynError(f"{path} is not a CSV of runs: it has no column {missing[0]}.")
    return frame


def import_rows(files: Sequence[Path], store: Store) -> tuple[int, int]:
    """Put the runs of such CSVs into the store; one that is there stays as it is.

    Returns:
        Runs added, and runs that were there.

    Raises:
        PresynError: a line is not a run, or was changed; nothing is added then.
    """
    rows: dict[str, Row] = {}
    for file in files:
        for number, line in enumerate(read_rows(file, ["config"]).to_dict("records"), start=2):
            try:
                row = restore(line)
            except (ValueError, LookupError, TypeError, ArithmeticError) as e:
                raise PresynError(
                    f"{file}, line {number} is not a run that presyn wrote ({e}). Nothing was imported."
                ) from None
            rows[row["run_id"]] = row
    new = [row for run_id, row in rows.items() if store.get(run_id) is None]
    for row in new:
        store.keep(row)
    return len(new), len(rows) - len(new)
