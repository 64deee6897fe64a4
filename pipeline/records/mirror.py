"""A stage in MLflow: its parent, and a run for each network."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.records.described import WRITTEN, images, metrics_over_parts, plain, user, written
from pipeline.records.notes import Note
from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import PresynError

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

    A run belongs to the store that wrote it (tag presyn_store), so stores that share a server leave each other's runs alone.

    Args:
        client: Of the tracking server.
        note: Its experiment and parent run are made if they are missing.
        store: Whose note it is.
        prefix: Before the experiment's name.
        artifacts: The folder for artifacts of a new experiment; None leaves them to the server.
        own: Whether the database is the store's own.
    """

    def __init__(self, client: Any, note: Note, store: Store, prefix: str, artifacts: Path | None, own: bool = False) -> None:
        self.client, self.note, self.store, self._own = client, note, store, own
        self.parent_id: str | None = None
        self._known: dict[str, _Run] = {}
        self._ids: tuple[list[str], set[str]] = ([], set())
        self.experiment = self._experiment(f"{prefix}/{note.experiment}" if prefix else note.experiment, artifacts)
        if note.name:
            self.parent_id = self._parent()
        children = f"tags.`mlflow.parentRunId` = '{self.parent_id}'" if self.parent_id else "tags.run_id != ''"
        for run in self._search(children):
            if self.parent_id or "mlflow.parentRunId" not in run.data.tags:
                self._remember(run)

    def _experiment(self, name: str, artifacts: Path | None) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            made = self.client.create_experiment(name, (artifacts / plain(name)).as_uri() if artifacts else None)
            self.client.set_experiment_tag(made, *KIND)
            return made
        if found.lifecycle_stage == "deleted":
            raise PresynError(
                f"its experiment {name} was deleted there; bring it back with: mlflow experiments restore --experiment-id "
                f"{found.experiment_id} (MLFLOW_TRACKING_URI says where), or choose another prefix with --mlflow-prefix"
            )
        if KIND[0] not in found.tags:
            self.client.set_experiment_tag(found.experiment_id, *KIND)
        return found.experiment_id

    def _parent(self) -> str:
        # Compared here: a name with an apostrophe would end the words of a search.
        there = self._search("tags.presyn_parent != ''")
        parents = [run for run in there if run.data.tags["presyn_parent"] == self.note.identity]
        if parents:
            parent = parents[0].info
            if parent.status == "FAILED" and not self.note.failed:  # the same command was given again
                self.client.update_run(parent.run_id, status="RUNNING")
            return parent.run_id
        tags = {"presyn_parent": self.note.identity, **self._common(), WRITTEN: self._words()}
        return self.client.create_run(self.experiment, run_name=self.note.name, tags=tags).info.run_id

    def _words(self) -> str:
        """The description of the parent, as Markdown."""
        n = self.note
        lines = [f"**{n.name}**: {len(n.run_ids)} runs of presyn." if n.run_ids else f"**{n.name}**, made by presyn of rows."]
        if n.command:
            lines.append(f"To carry it out again, or to go on: `{n.command}`")
        if n.folder:
            lines.append(f"Rows and tables: `{n.folder}`")
        lines.append(f"Results of single runs are in the store `{self.store.root}`; `presyn show RUN_ID` prints one.")
        return "\n\n".join(lines)

    def _common(self) -> dict[str, str]:
        """Tags of parents and children alike."""
        return {
            "stage": self.note.experiment,
            "presyn_store": self.store.id,
            "mlflow.user": user(),
            "mlflow.source.name": self.note.command or "presyn",
            "mlflow.source.type": "LOCAL",
        }

    def _remember(self, run: Any) -> None:
        """Know a run that is there; of two of one row, of which a killed process did not remove the older, keep the newer."""
        run_id = run.data.tags.get("run_id", "")
        new = _Run(run.info.run_id, run.info.status, run.info.end_time)
        old = self._known.setdefault(run_id, new)
        if old is not new:
            kept = max(old, new, key=lambda r: (r.status not in STATUS.values(), r.ended or 0))
            self._known[run_id] = kept
            self._delete((new if kept is old else old).id)

    def _delete(self, run: str) -> None:
        """Delete a run of this store; one that does not say whose it is stays on a server, where it may be somebody's."""
        if self._own or "presyn_store" in self.client.get_run(run).data.tags:
            self.client.delete_run(run)

    def has(self, run_id: str) -> bool:
        """Whether a run belongs to the note."""
        if self._ids[0] is not self.note.run_ids:
            self._ids = (self.note.run_ids, set(self.note.run_ids))
        return run_id in self._ids[1]

    def _search(self, where: str) -> list[Any]:
        """Runs of this store; those of before stores had names are everybody's."""
        found, token = [], None
        while True:
            page = self.client.search_runs([self.experiment], where, max_results=1000, page_token=token)
            found += [run for run in page if run.data.tags.get("presyn_store", self.store.id) == self.store.id]
            token = page.token
            if not token:
                return found

    def write(self, row: Row) -> None:
        """Write a row as a run, if it is not there in full."""
        from mlflow.entities import Metric, Param, RunTag

        record = row.record
        ends = record.ended or [time.time()]
        known, ended = self._begun(row, ends), int(ends[-1] * 1000)
        if known.status in STATUS.values():
            return
        tags = [RunTag(k, v) for k, v in self.tags(row).items()]
        params = [Param(k, str(v)) for k, v in row.config.items()]
        metrics = [
            Metric(k, v, int(t * 1000), step) for k, v, t, step in metrics_over_parts(row) if v == v and abs(v) != float("inf")
        ]
        for i in range(0, max(1, len(metrics)), 900):  # MLflow takes at most 1000 entries in a batch
            self.client.log_batch(known.id, metrics[i : i + 900], params if i == 0 else [], tags)
        self.client.log_inputs(known.id, [images(row)])
        self.client.set_terminated(known.id, STATUS[row.status], ended)
        self._known[row.run_id] = _Run(known.id, STATUS[row.status], ended)

    def _begun(self, row: Row, ends: list[float]) -> "_Run":
        """The MLflow run of a row, made if there is none; one that was trained afresh replaces what was there.

        What people wrote there stays: name, description and tags are carried over. A record with less in it, such as one that
        came from a CSV, replaces nothing.
        """
        known = self._known.get(row.run_id)
        before = None
        if known is not None and known.status in STATUS.values() and (known.ended or 0) < int(ends[-1] * 1000):
            before = self.client.get_run(known.id)
            if {name for name, value, *_ in metrics_over_parts(row) if value == value} >= before.data.metrics.keys():
                known = None
        if known is None:
            started = ends[0] - (row.record.seconds or [0])[0]
            links = {"mlflow.parentRunId": self.parent_id} if self.parent_id else {}
            called = self.note.labels.get(row.run_id, {}).values()
            name = " ".join([*called, row.config["method"], row.config["benchmark"], str(row.config["seed"])])
            tags = {**written(before), **self.tags(row), **links}
            made = self.client.create_run(self.experiment, int(started * 1000), tags, before.info.run_name if before else name)
            known = self._known[row.run_id] = _Run(made.info.run_id, made.info.status)
            if before is not None:
                self._delete(before.info.run_id)
        return known

    def tags(self, row: Row) -> dict[str, str]:
        """Tags of a row's run."""
        return {
            **self._common(),
            "method": row.config["method"],
            "benchmark": row.config["benchmark"],
            "seed": str(row.config["seed"]),
            "run_id": row.run_id,
            "status": row.status,
            **({"reason": row.record.reason} if row.record.reason else {}),
            **self.note.labels.get(row.run_id, {}),
            **{k: str(row.provenance[k]) for k in ("git_commit", "git_dirty", "data_sha256")},
            "mlflow.source.git.commit": str(row.provenance["git_commit"]),
        }

    def finish(self) -> None:
        """Complete the parent, when all its runs are there; or end it as failed."""
        parent, note = self.parent_id, self.note
        if parent is not None and note.failed:
            self.client.set_tag(parent, "reason", note.failed[:5000])
            self.client.set_terminated(parent, "FAILED")
            return
        if parent is None or set(note.run_ids) - self._known.keys():
            return
        there = self.client.get_run(parent).data
        if WRITTEN in there.tags and there.tags[WRITTEN].startswith(f"**{note.name}**"):  # unless somebody wrote another
            self.client.set_tag(parent, WRITTEN, self._words())
        for k, v in note.params.items():
            if k not in there.params:
                self.client.log_param(parent, k, v)
        for k, v in note.metrics.items():
            if v == v and there.metrics.get(plain(k)) != v:  # of several at a step the latest counts
                self.client.log_metric(parent, plain(k), v, step=0)
        for file in map(Path, filter(os.path.exists, note.files)):
            base = Path(note.files[0]).parent  # what lies in a folder beside the first keeps it, so that links hold
            inside = file.parent != base and file.parent.is_relative_to(base)
            self.client.log_artifact(parent, str(file), file.parent.relative_to(base).as_posix() if inside else None)
        if note.table and Path(note.table).exists():
            present = {a.path for a in self.client.list_artifacts(parent)}
            table = pd.read_csv(note.table).astype(object)
            if "table.json" not in present:
                self.client.log_table(parent, table, "table.json")
            else:  # log_table would append
                table = table.where(table.notna(), None)
                self.client.log_dict(parent, {"columns": list(table), "data": table.to_numpy().tolist()}, "table.json")
        self.client.set_terminated(parent, "FINISHED")
