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
from collections.abc import Iterable, Iterator
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
        store.write(store.stages / f"{self.experiment}-{digest([self.identity])}.json", json.dumps(asdict(self), indent=1))


def digest(words: Iterable[str]) -> str:
    """Twelve letters that stand for these words, such as the runs of a stage."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def stages(store: Store) -> list[Stage]:
    """All stages in the store; damaged notes are skipped."""
    found = []
    for path in sorted(store.stages.glob("*.json")):
        with contextlib.suppress(ValueError, TypeError):
            found.append(Stage(**json.loads(path.read_text())))
    return found


class Tracker:
    """Writes rows to MLflow under their stages' parent runs; goes silent, saying so once, when the server does not answer.

    Args:
        uri: The tracking server.
        store: The store, where artifacts of a local MLflow go as well.
        stages: What is tracked; a row is written under each that it belongs to.
    """

    def __init__(self, uri: str, store: Store, *stages: Stage) -> None:
        self.uri = uri
        self.client: Any = None
        self._mirrors: list[_Mirror] = []
        if not answers(uri):
            self._lost(f"did not answer within {PROBE_SECONDS:.0f} s")
            return
        with self._guarded():
            self.client = _client(uri)
            local = None if uri.startswith("http") else store.root / "mlartifacts"
            self._mirrors = [_Mirror(self.client, stage, local) for stage in stages]

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

    def write(self, row: Row) -> None:
        """Write a row as one MLflow run of each of its stages, or complete one that is half there; doubles nothing."""
        if self.client is None:
            return
        with self._guarded():
            for mirror in self._mirrors:
                if row["run_id"] in mirror.run_ids:
                    mirror.write(row)

    def finish(self) -> None:
        """Complete the parent of every stage whose runs are all there: its parameters, metrics, artifacts and table."""
        if self.client is None:
            return
        with self._guarded():
            for mirror in self._mirrors:
                mirror.finish()


def _client(uri: str) -> Any:
    # MLflow waits for a dead server for minutes by default.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    return MlflowClient(uri)


class _Mirror:
    """A stage in MLflow; raises whatever MLflow raises.

    Args:
        client: Of the tracking server.
        stage: The stage; its experiment and parent run are made if they are missing.
        artifacts: The folder for artifacts of a new experiment; None leaves them to the server.
    """

    def __init__(self, client: Any, stage: Stage, artifacts: Path | None) -> None:
        self.client, self.stage, self.run_ids = client, stage, set(stage.run_ids)
        self.parent_id: str | None = None
        self._known: dict[str, Any] = {}
        found = client.get_experiment_by_name(stage.experiment)
        where = (artifacts / stage.experiment).as_uri() if artifacts else None
        self.experiment = found.experiment_id if found else client.create_experiment(stage.experiment, where)
        if stage.name:
            parents = self._search(f"tags.presyn_parent = '{stage.identity}'")
            tags = {"presyn_parent": stage.identity, "stage": stage.experiment}
            parent = parents[0] if parents else client.create_run(self.experiment, run_name=stage.name, tags=tags)
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
        parent, stage = self.parent_id, self.stage
        if parent is None or self.run_ids - self._known.keys():
            return
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
    known, ids = stages(store), store.ids()
    loose = set(ids) - {run_id for stage in known for run_id in stage.run_ids}
    tracker = Tracker(uri, store, *known, Stage("run", "run", run_ids=sorted(loose)))
    for run_id in ids:
        row = store.get(run_id)
        if row:
            tracker.write(row)
    tracker.finish()
    return tracker.client is not None
