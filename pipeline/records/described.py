"""What a row is in MLflow: its metrics and its data set; and what in a run there was written by people."""

import getpass
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from pipeline.records.row import Row

WRITTEN = "mlflow.note.content"
"""The tag of a run's description."""


def plain(name: str) -> str:
    """A name with only the signs that MLflow takes in those of metrics."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def user() -> str:
    """Who runs this; a number where the account has no name, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def images(row: Row) -> Any:
    """The data set of a run, as MLflow knows inputs."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    sha256 = str(row.provenance["data_sha256"])
    name = str(row.config.get("dataset", "unknown"))
    source = json.dumps({"uri": name, "sha256": sha256})
    return DatasetInput(Dataset(name, sha256[:12] or "unknown", "local", source), [InputTag("mlflow.data.context", "training")])


OURS = {
    "presyn_store",
    "stage",
    "method",
    "benchmark",
    "seed",
    "run_id",
    "status",
    "reason",
    "git_commit",
    "git_dirty",
    "data_sha256",
}


def written(before: Any) -> dict[str, str]:
    """Tags of a run that MLflow or presyn did not set themselves: what people wrote."""
    tags = before.data.tags if before else {}
    return {k: v for k, v in tags.items() if k == WRITTEN or (not k.startswith("mlflow.") and k not in OURS)}


def metrics_over_parts(row: Row) -> Iterator[tuple[str, float, float, int]]:
    """(name, value, unix time, step) of a row; steps are parts, which are tasks or epochs. Lists stay in the rows."""
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
