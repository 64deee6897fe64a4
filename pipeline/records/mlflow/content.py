"""What a row is in MLflow: its parameters, metrics, tags and data set; and what in a run there was written by people."""

import getpass
import json
import math
import os
import re
from collections.abc import Iterator
from typing import Any

from pipeline.records.mlflow.notes import Note
from pipeline.records.row import Row
from pipeline.records.store import Store

DESCRIPTION = "mlflow.note.content"
"""The tag of a run's description."""
STATUS = {"finished": "FINISHED", "dropped": "KILLED", "diverged": "FAILED"}
"""What a row's status is in MLflow."""
ROW_TAGS = {"method", "benchmark", "seed", "run_id", "status", "reason", "git_commit", "git_dirty", "data_sha256"}
"""Tags that say which row a run is of."""
OUR_TAGS = {"presyn_store", "presyn_parent", "stage", *ROW_TAGS}


def metric_name(name: str) -> str:
    """A name with only the characters that MLflow takes in those of metrics and folders."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def common_tags(note: Note, store: Store) -> dict[str, str]:
    """Tags of parents and children alike."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name, as in containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return {
        "stage": note.experiment,
        "presyn_store": store.id,
        "mlflow.user": user,
        "mlflow.source.name": note.command or "presyn",
        "mlflow.source.type": "LOCAL",
    }


def row_tags(row: Row, note: Note, store: Store) -> dict[str, str]:
    """Tags of a row's run under a note."""
    return {
        **common_tags(note, store),
        "method": row.config["method"],
        "benchmark": row.config["benchmark"],
        "seed": str(row.config["seed"]),
        "run_id": row.run_id,
        "status": row.status,
        **({"reason": row.record.reason} if row.record.reason else {}),
        **note.labels.get(row.run_id, {}),
        **{k: str(row.provenance[k]) for k in ("git_commit", "git_dirty", "data_sha256")},
        "mlflow.source.git.commit": str(row.provenance["git_commit"]),
    }


def row_params(row: Row) -> dict[str, str]:
    """Parameters of a row's run: its whole configuration."""
    return {name: str(value) for name, value in row.config.items()}


def row_metrics(row: Row) -> Iterator[tuple[str, float, float, int]]:
    """(name, value, unix time, step) of a row; steps are segments: tasks or epochs. Lists and nan stay in the rows."""
    return (metric for metric in _all_metrics(row) if math.isfinite(metric[1]))


def _all_metrics(row: Row) -> Iterator[tuple[str, float, float, int]]:
    record, ended = row.record, row.record.ended
    for name, values in {"loss": record.loss, "seconds": record.seconds, **record.figures}.items():
        first = len(ended) - len(values)  # what is measured at the end alone has one value
        for step, value in enumerate(values, start=first + 1):
            if not isinstance(value, list):
                yield name, value, ended[step - 1], step
    for number, accuracies in enumerate(record.accuracy, start=1):
        step = len(ended) * number // len(record.accuracy)  # joint is tested only at its end, a task at that of its last epoch
        seen = [a for a in accuracies if a is not None]
        yield "accuracy_of_tested", sum(seen) / len(seen), ended[step - 1], step
        for task, accuracy in enumerate(accuracies, start=1):
            if accuracy is not None:
                yield f"accuracy_task_{task:02d}", accuracy, ended[step - 1], step
    for name, value in (("mean_accuracy", row.mean_accuracy), ("forgetting", row.forgetting)):
        if value is not None:
            yield name, value, ended[-1], len(ended)


def data_set(row: Row) -> Any:
    """The data set of a run, as MLflow knows inputs."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    sha256 = str(row.provenance["data_sha256"])
    name = str(row.config.get("dataset", "unknown"))
    source = json.dumps({"uri": name, "sha256": sha256})
    return DatasetInput(Dataset(name, sha256[:12] or "unknown", "local", source), [InputTag("mlflow.data.context", "training")])


def description(note: Note, store: Store) -> str:
    """The description of a parent, as Markdown."""
    count = f"{len(note.run_ids)} runs of presyn." if note.run_ids else "made by presyn of rows."
    lines = [f"**{note.name}**: {count}" if note.run_ids else f"**{note.name}**, {count}"]
    if note.command:
        lines.append(f"To carry it out again, or to go on: `{note.command}`")
    if note.folder:
        lines.append(f"Rows and tables: `{note.folder}`")
    lines.append(f"Results of single runs are in the store `{store.root}`; `presyn show RUN_ID` prints one.")
    return "\n\n".join(lines)


def written_by_people(run: Any, labels: dict[str, str] | None = None) -> dict[str, str]:
    """Tags of a run that neither MLflow nor presyn set."""
    ours = OUR_TAGS | set(labels or {})
    return {k: v for k, v in run.data.tags.items() if k == DESCRIPTION or (not k.startswith("mlflow.") and k not in ours)}
