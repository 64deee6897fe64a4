"""MLflow as a projection of the store: one run per (parent, run id), written live by one writer, rebuildable."""

import contextlib
import hashlib
import json
import logging
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.store import Row, Store

PROBE_SECONDS = 3.0
STATUS = {"finished": "FINISHED", "dropped": "KILLED", "diverged": "FAILED"}


def tracking_uri(uri: str | None, store: Store) -> str:
    """The argument, else $MLFLOW_TRACKING_URI, else a SQLite file in the store."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store.root / 'mlflow.db'}"


def answers(uri: str) -> bool:
    """Whether a tracking server answers; files and databases always do."""
    if not uri.startswith("http"):
        return True
    try:
        with urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=PROBE_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True  # it is there; a proxy may hide /health
    except (OSError, ValueError):
        return False


@dataclass
class Stage:
    """What a sweep or a table is in MLflow; kept in the store, so that MLflow can be rebuilt from it.

    Attributes:
        experiment: The MLflow experiment: search, table1 or run.
        identity: The same whenever the same sweep or table is run.
        name: Of the parent run; empty for runs without a parent.
        run_ids: The children, in order.
        params, metrics: Of the parent.
        files: Artifacts of the parent, as paths.
        table: A CSV that becomes the parent's MLflow table.
    """

    experiment: str
    identity: str
    name: str = ""
    run_ids: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    table: str | None = None

    def save(self, store: Store) -> None:
        """Keep it in the store."""
        digest = hashlib.sha256(self.identity.encode()).hexdigest()[:12]
        store.write(store.stages / f"{self.experiment}-{digest}.json", json.dumps(asdict(self), indent=1))


def stages(store: Store) -> list[Stage]:
    """All stages in the store; damaged notes are skipped."""
    found = []
    for path in sorted(store.stages.glob("*.json")):
        with contextlib.suppress(ValueError, TypeError):
            found.append(Stage(**json.loads(path.read_text())))
    return found


class Tracker:
    """Writes rows to MLflow under a stage's parent run; goes silent, saying so once, when the server does not answer.

    Args:
        uri: The tracking server.
        store: The store, where artifacts of a local MLflow go as well.
        stage: What is tracked.
    """

    def __init__(self, uri: str, store: Store, stage: Stage) -> None:
        self.uri, self.store, self.stage = uri, store, stage
        self.client: Any = None
        self.parent_id: str | None = None
        self._known: dict[str, Any] = {}
        if not answers(uri):
            self._lost(f"did not answer within {PROBE_SECONDS:.0f} s")
            return
        with self._guarded():
            self._open()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as e:  # whatever MLflow or its backend raises must not stop training
            self._lost(str(e).splitlines()[0] if str(e) else type(e).__name__)

    def _lost(self, why: str) -> None:
        self.client = None
        print(
            f"presyn: MLflow at {self.uri} is not written ({why}). Training goes on and the store is complete; "
            "when the server is back, run: presyn sync-mlflow",
            file=sys.stderr,
        )

    def _open(self) -> None:
        # MLflow waits for a dead server for minutes by default.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        logging.getLogger("alembic").setLevel(logging.ERROR)
        from mlflow import MlflowClient

        self.client = MlflowClient(self.uri)
        stage = self.stage
        found = self.client.get_experiment_by_name(stage.experiment)
        artifacts = None if self.uri.startswith("http") else (self.store.root / "mlartifacts" / stage.experiment).as_uri()
        self.experiment = found.experiment_id if found else self.client.create_experiment(stage.experiment, artifacts)
        if stage.name:
            parents = self._search(f"tags.presyn_parent = '{stage.identity}'")
            tags = {"presyn_parent": stage.identity, "stage": stage.experiment}
            parent = parents[0] if parents else self.client.create_run(self.experiment, run_name=stage.name, tags=tags)
            self.parent_id = parent.info.run_id
        own = f"tags.`mlflow.parentRunId` = '{self.parent_id}'" if self.parent_id else "tags.run_id != ''"
        for run in self._search(own):
            if self.parent_id or "mlflow.parentRunId" not in run.data.tags:
                self._known[run.data.tags.get("run_id", "")] = run

    def _search(self, where: str) -> list[Any]:
        found, token = [], None
        while True:
            page = self.client.search_runs([self.experiment], where, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def write(self, row: Row) -> None:
        """Write a row as one MLflow run, or complete one that is half there; doubles nothing."""
        if self.client is None:
            return
        with self._guarded():
            self._write(row)

    def _write(self, row: Row) -> None:
        from mlflow.entities import Metric, Param, RunTag

        known = self._known.get(row["run_id"])
        ends = row["ended"] or [time.time()]
        if known is not None and known.info.status in STATUS.values():
            if known.info.end_time == int(ends[-1] * 1000):
                return
            self.client.delete_run(known.info.run_id)  # the run was trained afresh
            known = None
        started = ends[0] - (row["seconds"] or [0])[0]
        tags = self.tags(row)
        if known is None:
            config = row["config"]
            links = {"mlflow.parentRunId": self.parent_id} if self.parent_id else {}
            name = f"{config['method']} {config['benchmark']} {config['seed']}"
            known = self.client.create_run(self.experiment, int(started * 1000), {**tags, **links}, name)
            self._known[row["run_id"]] = known
        run_id = known.info.run_id
        params = [Param(k, str(v)) for k, v in row["config"].items()]
        metrics = [Metric(k, v, int(t * 1000), step) for k, v, t, step in _metrics(row) if v == v and abs(v) != float("inf")]
        for i in range(0, max(1, len(metrics)), 900):  # MLflow takes at most 1000 entries in a batch
            self.client.log_batch(
                run_id, metrics[i : i + 900], params if i == 0 else [], [RunTag(k, v) for k, v in tags.items()]
            )
        self.client.set_terminated(run_id, STATUS[row["status"]], int(ends[-1] * 1000))
        self._known[row["run_id"]] = self.client.get_run(run_id)

    def tags(self, row: Row) -> dict[str, str]:
        """The tags of a run."""
        config, provenance = row["config"], row["provenance"]
        return {
            "stage": self.stage.experiment,
            "method": config["method"],
            "benchmark": config["benchmark"],
            "seed": str(config["seed"]),
            "run_id": row["run_id"],
            "status": row["status"],
            **{k: str(provenance[k]) for k in ("git_commit", "git_dirty", "data_sha256")},
        }

    def finish(self) -> None:
        """Complete the parent run: its parameters, metrics, artifacts and table."""
        if self.client is None or self.parent_id is None:
            return
        with self._guarded():
            self._finish(self.parent_id)

    def _finish(self, parent: str) -> None:
        stage = self.stage
        there = self.client.get_run(parent).data.params
        for k, v in stage.params.items():
            if k not in there:
                self.client.log_param(parent, k, v)
        for k, v in stage.metrics.items():
            self.client.log_metric(parent, k, v, step=0, timestamp=0)  # the same time again replaces, and doubles nothing
        for file in filter(os.path.exists, stage.files):
            self.client.log_artifact(parent, file)
        if stage.table and Path(stage.table).exists():
            present = {a.path for a in self.client.list_artifacts(parent)}
            if "table.json" not in present:  # log_table appends
                self.client.log_table(parent, pd.read_csv(stage.table).astype(object), "table.json")
        self.client.set_terminated(parent, "FINISHED")


def _metrics(row: Row) -> Iterator[tuple[str, float, float, int]]:
    """(name, value, unix time, step) of a row; steps are parts, which are tasks, or epochs for joint."""
    ended = row["ended"]
    for step, (loss, seconds) in enumerate(zip(row["loss"], row["seconds"], strict=True), start=1):
        yield "loss", loss, ended[step - 1], step
        yield "seconds", seconds, ended[step - 1], step
    for name, values in row["figures"].items():
        for step, value in enumerate(values, start=1):
            yield name, value, ended[step - 1], step
    first = len(ended) - len(row["accuracy"])  # joint is tested only at its end
    for step, accuracies in enumerate(row["accuracy"], start=first + 1):
        seen = [a for a in accuracies if a is not None]
        yield "accuracy_of_tested", sum(seen) / len(seen), ended[step - 1], step
        for task, accuracy in enumerate(accuracies, start=1):
            if accuracy is not None:
                yield f"accuracy_task_{task:02d}", accuracy, ended[step - 1], step
    for name in ("mean_accuracy", "forgetting"):
        if row[name] is not None:
            yield name, row[name], ended[-1], len(ended)


def sync(store: Store, uri: str) -> bool:
    """Write to MLflow what it lacks of the store: every stage with its runs, and runs that belong to none; True if it could."""
    loose = set(store.ids())
    for stage in stages(store):
        tracker = Tracker(uri, store, stage)
        for run_id in stage.run_ids:
            row = store.get(run_id)
            if row:
                tracker.write(row)
        if all(store.get(i) for i in stage.run_ids):
            tracker.finish()
        loose -= set(stage.run_ids)
        if tracker.client is None:
            return False
    tracker = Tracker(uri, store, Stage("run", "run"))
    for run_id in sorted(loose):
        row = store.get(run_id)
        if row:
            tracker.write(row)
    return tracker.client is not None
