"""Rows as a CSV that people read: what a stage used, one line per run, enough to follow every number back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.store import Row

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


def export(path: Path, rows: Sequence[tuple[Row, dict[str, Any]]]) -> pd.DataFrame:
    """Write rows with their extra columns to a CSV."""
    frame = pd.DataFrame([flat(row, extra) for row, extra in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    return frame
