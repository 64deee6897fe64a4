"""The one writer of MLflow. Its input is what the store holds, and each of its calls can be repeated."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.records.mlflow.content import (
    DESCRIPTION,
    STATUS,
    common_tags,
    data_set,
    description,
    metric_name,
    row_metrics,
    row_params,
    row_tags,
    written_by_people,
)
from pipeline.records.mlflow.notes import Note, read_notes
from pipeline.records.mlflow.server import AWAY, PROBE_SECONDS, answers, connect, is_away, remedy
from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import PresynError
from presyn.errors import hide_passwords
from sweeps.files import sqlite_address

KIND = ("mlflow.experimentKind", "custom_model_development")
"""Without this tag MLflow's pages open an experiment as if it were of traces of language models."""
BATCH = 900
"""Metrics that are sent at once; MLflow takes at most 1000 entries."""


@dataclass(frozen=True)
class _MlflowRun:
    """A run in MLflow: its id there, its status, its end in milliseconds of unix time, and what it holds."""

    id: str
    status: str
    ended: int | None = None
    params: frozenset[tuple[str, str]] = frozenset()
    metrics: frozenset[tuple[str, float]] = frozenset()

    @property
    def complete(self) -> bool:
        return self.status in STATUS.values()


class NoteWriter:
    """Writes what belongs to one note: its parent run, and a run for each network. Raises whatever MLflow raises.

    A run belongs to the store that wrote it (tag presyn_store), so stores that share a server leave each other's runs alone.

    Args:
        client: Of the tracking server.
        note: Its experiment and parent run are made if they are missing.
        store: Whose note it is.
        prefix: Before the experiment's name.
        artifacts: The folder for artifacts of a new experiment; None leaves them to the server.
        is_own_database: Whether the database is the store's own.
    """

    def __init__(
        self, client: Any, note: Note, store: Store, prefix: str, artifacts: Path | None, is_own_database: bool = False
    ) -> None:
        self.client, self.note, self.store, self.is_own_database = client, note, store, is_own_database
        self.parent_id: str | None = None
        self._children: dict[str, _MlflowRun] = {}
        self._run_ids: tuple[list[str], frozenset[str]] = ([], frozenset())
        self._steps = 0  # how many of the note's are written
        self.experiment_id = self._find_or_make_experiment(
            f"{prefix}/{note.experiment}" if prefix else note.experiment, artifacts
        )
        if note.name:
            self.parent_id = self._find_or_make_parent()
        children = f"tags.`mlflow.parentRunId` = '{self.parent_id}'" if self.parent_id else "tags.run_id != ''"
        for run in self._search(children):
            if self.parent_id or "mlflow.parentRunId" not in run.data.tags:
                self._remember(run)

    def _find_or_make_experiment(self, name: str, artifacts: Path | None) -> str:
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            place = (artifacts / metric_name(name)).as_uri() if artifacts else None
            new = self.client.create_experiment(name, place)
            self.client.set_experiment_tag(new, *KIND)
            return new
        if experiment.lifecycle_stage == "deleted":
            raise PresynError(
                f"its experiment {name} was deleted there; bring it back with: mlflow experiments restore --experiment-id "
                f"{experiment.experiment_id} (MLFLOW_TRACKING_URI says where), or choose another prefix with --mlflow-prefix"
            )
        if KIND[0] not in experiment.tags:
            self.client.set_experiment_tag(experiment.experiment_id, *KIND)
        return experiment.experiment_id

    def _find_or_make_parent(self) -> str:
        # Compared here: a name with an apostrophe would end the text of a search.
        parents = [run for run in self._search("tags.presyn_parent != ''") if self._is_parent(run)]
        if parents:
            parent = parents[0].info
            if parent.status == "FAILED" and not self.note.failed:  # the same command was given again
                self.client.update_run(parent.run_id, status="RUNNING")
            return parent.run_id
        tags = {"presyn_parent": self.note.identity, **common_tags(self.note, self.store)}
        tags[DESCRIPTION] = description(self.note, self.store)
        return self.client.create_run(self.experiment_id, run_name=self.note.name, tags=tags).info.run_id

    def _is_parent(self, run: Any) -> bool:
        return run.data.tags["presyn_parent"] == self.note.identity

    def _search(self, where: str) -> list[Any]:
        """Runs of this store; those that were written before stores had names are everybody's."""
        runs, token = [], None
        while True:
            page = self.client.search_runs([self.experiment_id], where, max_results=1000, page_token=token)
            runs += [run for run in page if run.data.tags.get("presyn_store", self.store.id) == self.store.id]
            token = page.token
            if not token:
                return runs

    def _remember(self, run: Any) -> None:
        """Remember a run that is there; of two of one row, of which a killed process did not remove the older, the newer."""
        run_id = run.data.tags.get("run_id", "")
        new = _MlflowRun(
            run.info.run_id,
            run.info.status,
            run.info.end_time,
            frozenset(run.data.params.items()),
            frozenset(run.data.metrics.items()),
        )
        old = self._children.setdefault(run_id, new)
        if old is not new:
            kept = max(old, new, key=lambda r: (not r.complete, r.ended or 0))
            self._children[run_id] = kept
            self._delete((new if kept is old else old).id)

    def _delete(self, id: str) -> None:
        """Delete a run of this store; one that does not say whose it is stays on a server, where it may be somebody's."""
        if self.is_own_database or "presyn_store" in self.client.get_run(id).data.tags:
            self.client.delete_run(id)

    def _belongs(self, run_id: str) -> bool:
        """Whether a run is one of the note's, which may have got more runs since the last call."""
        if self._run_ids[0] is not self.note.run_ids:
            self._run_ids = (self.note.run_ids, frozenset(self.note.run_ids))
        return run_id in self._run_ids[1]

    def write(self, row: Row) -> None:
        """Write a row as a run, if it is not there in full."""
        from mlflow.entities import Metric, Param, RunTag

        if not self._belongs(row.run_id):
            return
        ends = row.record.ended or [time.time()]
        child, ended = self._find_or_make_child(row, ends), int(ends[-1] * 1000)
        if child.complete:
            return
        tags = [RunTag(k, v) for k, v in row_tags(row, self.note, self.store).items()]
        params = [Param(k, v) for k, v in row_params(row).items()]
        metrics = [Metric(name, value, int(t * 1000), step) for name, value, t, step in row_metrics(row)]
        for i in range(0, max(1, len(metrics)), BATCH):
            self.client.log_batch(child.id, metrics[i : i + BATCH], params if i == 0 else [], tags)
        self.client.log_inputs(child.id, [data_set(row)])
        self.client.set_terminated(child.id, STATUS[row.status], ended)
        self._children[row.run_id] = _MlflowRun(child.id, STATUS[row.status], ended, *_content(row))

    def _find_or_make_child(self, row: Row, ends: list[float]) -> _MlflowRun:
        """The MLflow run of a row. One that was trained afresh, or that has lost something, is made anew.

        What people wrote there stays: name, description and tags are carried over. A row with less in it, such as one that
        came from a CSV, or an older one, replaces nothing.
        """
        child = self._children.get(row.run_id)
        before = None
        if child is not None and child.complete and self._is_outdated(child, row, int(ends[-1] * 1000)):
            before = self.client.get_run(child.id)
            child = None
        if child is None:
            labels = self.note.labels.get(row.run_id, {})
            started = ends[0] - (row.record.seconds or [0])[0]
            name = " ".join([*labels.values(), row.config["method"], row.config["benchmark"], str(row.config["seed"])])
            tags = {**(written_by_people(before, labels) if before else {}), **row_tags(row, self.note, self.store)}
            tags |= {"mlflow.parentRunId": self.parent_id} if self.parent_id else {}
            new = self.client.create_run(
                self.experiment_id, int(started * 1000), tags, before.info.run_name if before else name
            )
            child = self._children[row.run_id] = _MlflowRun(new.info.run_id, new.info.status)
            if before is not None:
                self._delete(before.info.run_id)
        return child

    def _is_outdated(self, child: _MlflowRun, row: Row, ended: int) -> bool:
        params, metrics = _content(row)
        there, ours = {name for name, _ in child.metrics}, {name for name, _ in metrics}
        if ended < (child.ended or 0) or there - ours:
            return False
        return ended > (child.ended or 0) or bool(ours - there) or not params <= child.params

    def write_steps(self) -> None:
        """Write how far the stage has come, each step once, whoever wrote the steps before."""
        if self.parent_id is None or len(self.note.steps) <= self._steps:
            return
        steps, first = list(self.note.steps), self._steps
        names = {name for step in steps for name in step if name != "message"}
        written = {name: {m.step for m in self.client.get_metric_history(self.parent_id, metric_name(name))} for name in names}
        for number, step in enumerate(steps[first:], start=first + 1):
            for name in names & step.keys():
                if number not in written[name] and math.isfinite(step[name]):
                    self.client.log_metric(self.parent_id, metric_name(name), step[name], step=number)
        self._steps = len(steps)

    def finish(self) -> None:
        """Complete the parent, when all its runs are there; or end it as failed."""
        parent, note = self.parent_id, self.note
        self.write_steps()
        if parent is not None and note.failed:
            self.client.set_tag(parent, "reason", note.failed[:5000])
            self.client.set_terminated(parent, "FAILED")
            return
        if parent is None or set(note.run_ids) - self._children.keys():
            return
        data = self.client.get_run(parent).data
        if data.tags.get(DESCRIPTION, "").startswith(f"**{note.name}**"):  # unless somebody wrote another
            self.client.set_tag(parent, DESCRIPTION, description(note, self.store))
        for name, value in note.params.items():
            if name not in data.params:
                self.client.log_param(parent, name, value)
        for name, value in note.metrics.items():
            if value == value and data.metrics.get(metric_name(name)) != value:  # of several at a step the latest counts
                self.client.log_metric(parent, metric_name(name), value, step=0)
        self._log_artifacts(parent)
        self.client.set_terminated(parent, "FINISHED")

    def _log_artifacts(self, parent: str) -> None:
        """Log files and the table; one that MLflow does not take is said, and holds up nothing."""
        note = self.note
        try:
            for file in (Path(name) for name in note.files):
                if file.exists():
                    self.client.log_artifact(parent, str(file), artifact_folder(file, Path(note.folder)))
            if note.table and Path(note.table).exists():
                self._log_table(parent, pd.read_csv(note.table).astype(object))
        except Exception as e:  # a server may pass no artifacts on, or not these
            why = hide_passwords(str(e) or type(e).__name__).splitlines()[0]
            print(f"presyn: files of {note.name} are not in MLflow ({why}); its numbers are.", file=sys.stderr)

    def _log_table(self, parent: str, table: pd.DataFrame) -> None:
        if "table.json" not in {a.path for a in self.client.list_artifacts(parent)}:
            self.client.log_table(parent, table, "table.json")
            return
        table = table.where(table.notna(), None)  # log_table would append
        self.client.log_dict(parent, {"columns": list(table), "data": table.to_numpy().tolist()}, "table.json")


def artifact_folder(file: Path, folder: Path) -> str | None:
    """The folder among the artifacts for a file: as it lies under the stage's own folder; None for the top."""
    inside = folder != Path() and file.parent != folder and file.parent.is_relative_to(folder)
    return file.parent.relative_to(folder).as_posix() if inside and ".." not in file.parts else None


def _content(row: Row) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, float]]]:
    """The parameters of a row, and the last value of each of its metrics."""
    last = {name: float(value) for name, value, _, _ in row_metrics(row)}
    return frozenset(row_params(row).items()), frozenset(last.items())


class Writer:
    """Writes rows under the parents of their notes; goes silent, saying so once, when the server does not answer.

    Args:
        uri: The tracking server, as `pipeline.records.mlflow.server.address` gives it.
        store: The store, where artifacts of a local MLflow go as well.
        notes: What is tracked; a row is written under each that it belongs to. More can follow.
        prefix: Before the names of experiments, as in prefix/table1.
        quiet: Not to say that the server does not answer.
    """

    def __init__(self, uri: str, store: Store, *notes: Note, prefix: str = "", quiet: bool = False) -> None:
        self.uri, self.store, self.prefix, self.quiet = uri, store, prefix, quiet
        self.client: Any = None
        self._writers: dict[str, NoteWriter] = {}
        self._is_own_database = uri == sqlite_address(store.root / "mlflow.db")
        self._artifacts = None if uri.startswith("http") else store.root / "mlartifacts"
        if not answers(uri):
            self._go_silent(f"{AWAY[0]} within {PROBE_SECONDS:.0f} s", AWAY[1])
            return
        with self._guarded():
            self.client = connect(uri, store)
        for note in notes:
            self.follow(note)

    def follow(self, note: Note) -> None:
        """Track a note from now on; or, if it is tracked, the runs that it has by now."""
        if self.client is None:
            return
        with self._guarded():
            key = f"{note.experiment} {note.identity}"
            if key not in self._writers:
                self._writers[key] = NoteWriter(
                    self.client, note, self.store, self.prefix, self._artifacts, self._is_own_database
                )
            self._writers[key].write_steps()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as e:  # whatever MLflow or its backend raises must not stop training
            why, fix = remedy(e, self.uri)
            self._go_silent(why, AWAY[1] if is_away(e) else fix)

    def _go_silent(self, why: str, fix: str) -> None:
        self.client = None
        if not self.quiet:
            line = f"MLflow at {hide_passwords(self.uri)} is not written ({why.rstrip('.')})."
            print(f"presyn: {line} Training goes on and the store is complete. {fix}", file=sys.stderr)

    def write(self, row: Row) -> None:
        """Write a row as one MLflow run under each of its notes, or complete one that is half there; doubles nothing."""
        if self.client is None:
            return
        with self._guarded():
            for writer in self._writers.values():
                writer.write(row)

    def finish(self, *notes: Note) -> None:
        """Complete the parents of these notes, or of all, whose runs are there: parameters, metrics, artifacts and table."""
        if self.client is None:
            return
        with self._guarded():
            for writer in self._writers.values():
                if not notes or writer.note in notes:
                    writer.finish()


def sync(store: Store, uri: str, prefix: str = "") -> bool:
    """Write to MLflow what it lacks of the store: every note with its runs, and runs that belong to none; True if it could."""
    return write_everything(store, lambda *notes: Writer(uri, store, *notes, prefix=prefix)).client is not None


def write_everything(store: Store, make_writer: Any) -> Writer:
    """Write all that the store holds by a writer that is made for its notes; returns the writer."""
    notes, ids = read_notes(store), store.ids()
    loose = set(ids) - {run_id for note in notes for run_id in note.run_ids}
    writer: Writer = make_writer(*notes, Note("run", "run", run_ids=sorted(loose)))
    for run_id in ids:
        row = store.get(run_id)
        if row:
            writer.write(row)
    writer.finish()
    return writer
