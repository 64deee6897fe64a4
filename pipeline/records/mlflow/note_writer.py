"""Writes one note to MLflow: its experiment, its parent run, and a run for each network."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.records.mlflow.content import (
    DESCRIPTION,
    NAME,
    STATUS,
    SWEEP,
    common_tags,
    complete,
    data_set,
    description,
    is_our_description,
    metric_name,
    name_by_people,
    row_metrics,
    row_params,
    row_tags,
    run_name,
    written_by_people,
)
from pipeline.records.mlflow.notes import Note, read_notes
from pipeline.records.mlflow.projected import ProjectedRun, content, read_run
from pipeline.records.mlflow.server import is_away
from pipeline.records.mlflow.views import tags as experiment_tags
from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import PresynError
from presyn.errors import hide_passwords

KIND = ("mlflow.experimentKind", "custom_model_development")
"""Without this tag MLflow's pages open an experiment as if it were of traces of language models."""
BATCH = 900
"""Metrics that are sent at once; MLflow takes at most 1000 entries."""
MOST_NAMED = 3
"""Files that a message names."""


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
        self.client, self.store, self.is_own_database = client, store, is_own_database
        self.note = complete(note, partial(_rows, note, store))
        self.parent_id: str | None = None
        self._children: dict[str, ProjectedRun] = {}
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
            self._show_experiment(new, {})
            return new
        if experiment.lifecycle_stage == "deleted":
            raise PresynError(
                f"its experiment {name} was deleted there; bring it back with: mlflow experiments restore --experiment-id "
                f"{experiment.experiment_id} (MLFLOW_TRACKING_URI says where), or choose another prefix with --mlflow-prefix"
            )
        if KIND[0] not in experiment.tags:
            self.client.set_experiment_tag(experiment.experiment_id, *KIND)
        self._show_experiment(experiment.experiment_id, experiment.tags)
        return experiment.experiment_id

    def _show_experiment(self, id: str, before: Mapping[str, str]) -> None:
        """Give an experiment its description and its saved views."""
        name, identity = self.note.experiment, self.note.identity
        others = [note for note in read_notes(self.store) if note.experiment == name and note.identity != identity]
        notes = [*(complete(note, partial(_rows, note, self.store)) for note in others), self.note]
        renewed = experiment_tags(name, notes, before, int(time.time() * 1000))
        for name, value in renewed.items():
            self.client.set_experiment_tag(id, name, value)

    def _find_or_make_parent(self) -> str:
        # Compared here: a name with an apostrophe would end the text of a search.
        parents = [run for run in self._search("tags.presyn_parent != ''") if self._is_parent(run)]
        if parents:
            parent = parents[0].info
            if parent.status == "FAILED" and not self.note.failed:  # the same command was given again
                self.client.update_run(parent.run_id, status="RUNNING")
            if not name_by_people(parents[0]) and parents[0].data.tags.get(NAME) != self.note.name:
                self.client.update_run(parent.run_id, name=self.note.name)
                self.client.set_tag(parent.run_id, NAME, self.note.name)
            return parent.run_id
        tags = {"presyn_parent": self.note.identity, NAME: self.note.name, **common_tags(self.note, self.store)}
        tags[DESCRIPTION] = description(self.note, self.store)
        parent = self.client.create_run(self.experiment_id, run_name=self.note.name, tags=tags).info.run_id
        for run in self._search("tags.run_id != ''"):  # a parent that was deleted leaves its runs
            if run.data.tags.get(SWEEP) == self.note.identity:
                self.client.set_tag(run.info.run_id, "mlflow.parentRunId", parent)
        return parent

    def _is_parent(self, run: Any) -> bool:
        return run.data.tags["presyn_parent"] == self.note.identity

    def _search(self, where: str) -> list[Any]:
        """Runs of this store; those that were written before stores had names are everybody's."""
        runs = all_pages(partial(self.client.search_runs, [self.experiment_id], where))
        return [run for run in runs if run.data.tags.get("presyn_store", self.store.id) == self.store.id]

    def _remember(self, run: Any) -> None:
        """Remember a run that is there; of two of one row, of which a killed process did not remove the older, the newer."""
        run_id = run.data.tags.get("run_id", "")
        new = read_run(run)
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
            self._mend(child, row, ended)
            return
        own_tags = row_tags(row, self.note, self.store)
        tags = [RunTag(k, v) for k, v in own_tags.items()]
        params = [Param(k, v) for k, v in row_params(row).items()]
        metrics = [Metric(name, value, int(t * 1000), step) for name, value, t, step in row_metrics(row, self.note.objective)]
        for i in range(0, max(1, len(metrics)), BATCH):
            self.client.log_batch(child.id, metrics[i : i + BATCH], params if i == 0 else [], tags)
        data = data_set(row)
        self.client.log_inputs(child.id, [data])
        self.client.set_terminated(child.id, STATUS[row.status], ended)
        data_sets = frozenset([data.dataset.digest])
        self._children[row.run_id] = ProjectedRun(
            child.id, STATUS[row.status], ended, *content(row, self.note.objective), own_tags, child.name, data_sets
        )

    def _mend(self, child: ProjectedRun, row: Row, ended: int) -> None:
        """Say again what a complete run has lost or says otherwise besides numbers; who wrote it, and when, stays."""
        from mlflow.entities import RunTag

        tags = {k: v for k, v in row_tags(row, self.note, self.store).items() if not k.startswith("mlflow.")}
        changed = {k: v for k, v in tags.items() if child.tags.get(k) != v}
        if child.name and child.name != tags[NAME]:
            self.client.update_run(child.id, name=tags[NAME])
        if changed:
            self.client.log_batch(child.id, [], [], [RunTag(k, v) for k, v in changed.items()])
        data = data_set(row)
        if data.dataset.digest not in child.data_sets:
            self.client.log_inputs(child.id, [data])
        if child.status != STATUS[row.status]:
            self.client.set_terminated(child.id, STATUS[row.status], ended)
        self._children[row.run_id] = replace(
            child,
            tags={**child.tags, **changed},
            name=tags[NAME] if child.name else "",
            data_sets=child.data_sets | {data.dataset.digest},
            status=STATUS[row.status],
            ended=ended,
        )

    def _find_or_make_child(self, row: Row, ends: list[float]) -> ProjectedRun:
        """The MLflow run of a row. One that was trained afresh, or that has lost something, is made anew.

        What people wrote there stays: name, description and tags are carried over. A row with less in it, such as one that
        came from a CSV, or an older one, replaces nothing.
        """
        child = self._children.get(row.run_id)
        before = None
        if child is not None and child.complete and child.is_outdated(row, self.note.objective):
            before = self.client.get_run(child.id)
            child = None
        if child is None:
            labels = self.note.labels.get(row.run_id, {})
            started = ends[0] - (row.record.seconds or [0])[0]
            name = run_name(row, self.note)
            tags = {**(written_by_people(before, labels) if before else {}), **row_tags(row, self.note, self.store)}
            tags |= {"mlflow.parentRunId": self.parent_id} if self.parent_id else {}
            given = name_by_people(before) if before else ""
            new = self.client.create_run(self.experiment_id, int(started * 1000), tags, given or name)
            own_name = "" if given else name
            child = self._children[row.run_id] = ProjectedRun(new.info.run_id, new.info.status, tags=tags, name=own_name)
            if before is not None:
                self._delete(before.info.run_id)
        return child

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
        run = self.client.get_run(parent)
        data = run.data
        winner, tags = self._winner()
        # As tags, because they change when a search goes on, and parameters in MLflow cannot.
        tags |= {name: str(value) for name, value in note.params.items()}
        if is_our_description(data.tags.get(DESCRIPTION, "")):  # unless somebody wrote another
            tags[DESCRIPTION] = description(note, self.store, winner)
        if "reason" in data.tags:  # it had failed
            self.client.delete_tag(parent, "reason")
        for name, text in tags.items():
            if data.tags.get(name) != text:
                self.client.set_tag(parent, name, text)
        for name, value in note.metrics.items():
            if value == value and data.metrics.get(metric_name(name)) != value:  # of several at a step the latest counts
                self.client.log_metric(parent, metric_name(name), value, step=0)
        self._log_artifacts(parent)
        if run.info.status != "FINISHED":
            self.client.set_terminated(parent, "FINISHED")

    def _winner(self) -> tuple[str, dict[str, str]]:
        """What a parent says of the run that it chose, and its tags of it; nothing where none was chosen."""
        child = self._children.get(self.note.winner)
        if child is None:
            return "", {}
        value = dict(child.metrics).get(self.note.objective)
        name = child.tags.get(NAME, self.note.winner)
        link = f"[{name}](#/experiments/{self.experiment_id}/runs/{child.id})"
        text = f"**Winner**: {link}" + ("" if value is None else f", with {self.note.objective} {value:.4g}")
        return text, {"winner": name, "winner_run_id": self.note.winner}

    def _log_artifacts(self, parent: str) -> None:
        """Log files and the table; one that MLflow does not take is said, and holds up nothing."""
        note, table = self.note, Path(self.note.table or "")
        logs = [(file, partial(self._log_file, parent, file)) for file in map(Path, note.files)]
        logs += [(table, partial(self._log_table, parent, table))] if note.table else []
        refused: dict[str, str] = {}
        for file, log in logs:
            try:
                if file.exists():
                    log()
            except Exception as e:  # a server may pass no artifacts on, or not this one
                refused[file.name] = hide_passwords(str(e) or type(e).__name__).splitlines()[0]
                if is_away(e):  # each of the others would wait as long
                    refused |= {other.name: "" for other, _ in logs[logs.index((file, log)) + 1 :]}
                    break
        if refused:
            named = ", ".join([*refused][:MOST_NAMED]) + (", …" if len(refused) > MOST_NAMED else "")
            why = next(iter(refused.values()))
            print(f"presyn: {named} of {note.name} not put into MLflow ({why}); its numbers are there.", file=sys.stderr)

    def _log_file(self, parent: str, file: Path) -> None:
        self.client.log_artifact(parent, str(file), artifact_folder(file, Path(self.note.folder)))

    def _log_table(self, parent: str, path: Path) -> None:
        table = pd.read_csv(path).astype(object)
        if "table.json" not in {a.path for a in self.client.list_artifacts(parent)}:
            self.client.log_table(parent, table, "table.json")
            return
        table = table.where(table.notna(), None)  # log_table would append
        self.client.log_dict(parent, {"columns": list(table), "data": table.to_numpy().tolist()}, "table.json")


def artifact_folder(file: Path, folder: Path) -> str | None:
    """The folder among the artifacts for a file: as it lies under the stage's own folder; None for the top."""
    inside = folder != Path() and file.parent != folder and file.parent.is_relative_to(folder)
    return file.parent.relative_to(folder).as_posix() if inside and ".." not in file.parts else None


def _rows(note: Note, store: Store) -> list[Row]:
    """The rows of a note that are in the store."""
    return [row for row in map(store.get, note.run_ids) if row is not None]


def all_pages(search: Callable[..., Any]) -> list[Any]:
    """All that a search of MLflow finds, which gives a page at a time."""
    results, token = [], None
    while True:
        page = search(max_results=1000, page_token=token)
        results += page
        token = page.token
        if not token:
            return results
