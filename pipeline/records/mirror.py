"""A stage in MLflow: its parent, and a run for each network."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.records.notes import Note
from pipeline.records.row import Row

KIND = ("mlflow.experimentKind", "custom_model_development")
"""Without it MLflow's pages open an experiment as if it were of traces of language models."""
STATUS = {"finished": "FINISHED", "dropped": "KILLED", "diverged": "FAILED"}


@dataclass(frozen=True)
class _Run:
    """A run in MLflow: its id there, its status, and its end in milliseconds of unix time."""

    id: str
    status: str
    ended: int | None = None


class Mirror:
    """A note in MLflow; raises whatever MLflow raises.

    Args:
        client: Of the tracking server.
        note: Its experiment and parent run are made if they are missing.
        artifacts: The folder for artifacts of a new experiment; None leaves them to the server.
    """

    def __init__(self, client: Any, note: Note, artifacts: Path | None) -> None:
        self.client, self.note = client, note
        self.parent_id: str | None = None
        self._known: dict[str, _Run] = {}
        self._ids: tuple[list[str], set[str]] = ([], set())
        found = client.get_experiment_by_name(note.experiment)
        where = (artifacts / note.experiment).as_uri() if artifacts else None
        self.experiment = found.experiment_id if found else client.create_experiment(note.experiment, where)
        if not found or KIND[0] not in found.tags:
            client.set_experiment_tag(self.experiment, *KIND)
        if note.name:
            parents = self._search(f"tags.presyn_parent = '{note.identity}'")
            tags = {"presyn_parent": note.identity, "stage": note.experiment}
            parent = parents[0] if parents else client.create_run(self.experiment, run_name=note.name, tags=tags)
            self.parent_id = parent.info.run_id
        own = f"tags.`mlflow.parentRunId` = '{self.parent_id}'" if self.parent_id else "tags.run_id != ''"
        for run in self._search(own):
            if self.parent_id or "mlflow.parentRunId" not in run.data.tags:
                self._known[run.data.tags.get("run_id", "")] = _Run(run.info.run_id, run.info.status, run.info.end_time)

    def has(self, run_id: str) -> bool:
        """Whether a run belongs to the note."""
        if self._ids[0] is not self.note.run_ids:
            self._ids = (self.note.run_ids, set(self.note.run_ids))
        return run_id in self._ids[1]

    def _search(self, where: str) -> list[Any]:
        found, token = [], None
        while True:
            page = self.client.search_runs([self.experiment], where, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def write(self, row: Row) -> None:
        from mlflow.entities import Metric, Param, RunTag

        record = row.record
        ends = record.ended or [time.time()]
        known, ended = self._begun(row, ends), int(ends[-1] * 1000)
        if known.status in STATUS.values():
            return
        tags = [RunTag(k, v) for k, v in self.tags(row).items()]
        params = [Param(k, str(v)) for k, v in row.config.items()]
        metrics = [Metric(k, v, int(t * 1000), step) for k, v, t, step in _metrics(row) if v == v and abs(v) != float("inf")]
        for i in range(0, max(1, len(metrics)), 900):  # MLflow takes at most 1000 entries in a batch
            self.client.log_batch(known.id, metrics[i : i + 900], params if i == 0 else [], tags)
        self.client.set_terminated(known.id, STATUS[row.status], ended)
        self._known[row.run_id] = _Run(known.id, STATUS[row.status], ended)

    def _begun(self, row: Row, ends: list[float]) -> "_Run":
        """The MLflow run of a row, made if there is none; one that was trained afresh replaces what was there."""
        known = self._known.get(row.run_id)
        if known is not None and known.status in STATUS.values() and known.ended != int(ends[-1] * 1000):
            self.client.delete_run(known.id)
            known = None
        if known is None:
            started = ends[0] - (row.record.seconds or [0])[0]
            links = {"mlflow.parentRunId": self.parent_id} if self.parent_id else {}
            called = self.note.labels.get(row.run_id, {}).values()
            name = " ".join([row.config["method"], row.config["benchmark"], str(row.config["seed"]), *called])
            made = self.client.create_run(self.experiment, int(started * 1000), {**self.tags(row), **links}, name)
            known = self._known[row.run_id] = _Run(made.info.run_id, made.info.status)
        return known

    def tags(self, row: Row) -> dict[str, str]:
        return {
            "stage": self.note.experiment,
            "method": row.config["method"],
            "benchmark": row.config["benchmark"],
            "seed": str(row.config["seed"]),
            "run_id": row.run_id,
            "status": row.status,
            **({"reason": row.record.reason} if row.record.reason else {}),
            **self.note.labels.get(row.run_id, {}),
            **{k: str(row.provenance[k]) for k in ("git_commit", "git_dirty", "data_sha256")},
        }

    def finish(self) -> None:
        parent, note = self.parent_id, self.note
        if parent is None or set(note.run_ids) - self._known.keys():
            return
        there = self.client.get_run(parent).data.params
        for k, v in note.params.items():
            if k not in there:
                self.client.log_param(parent, k, v)
        for k, v in note.metrics.items():
            self.client.log_metric(parent, k, v, step=0, timestamp=0)  # the same time again replaces, and doubles nothing
        for file in map(Path, filter(os.path.exists, note.files)):
            base = Path(note.files[0]).parent  # what lies in a folder beside the first keeps it, so that links hold
            inside = file.parent != base and file.parent.is_relative_to(base)
            self.client.log_artifact(parent, str(file), file.parent.relative_to(base).as_posix() if inside else None)
        if note.table and Path(note.table).exists():
            present = {a.path for a in self.client.list_artifacts(parent)}
            if "table.json" not in present:  # log_table appends
                self.client.log_table(parent, pd.read_csv(note.table).astype(object), "table.json")
        self.client.set_terminated(parent, "FINISHED")


def _metrics(row: Row) -> Iterator[tuple[str, float, float, int]]:
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
