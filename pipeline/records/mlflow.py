"""MLflow as a projection of the store: one run per (parent, run id), written live by one writer, rebuildable."""

import contextlib
import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from pipeline.records.mirror import Mirror
from pipeline.records.notes import Note, notes
from pipeline.records.row import Row
from pipeline.records.store import Store

PROBE_SECONDS = 3.0


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


class Tracker:
    """Writes rows to MLflow under the parents of their notes; goes silent, saying so once, when the server does not answer.

    Args:
        uri: The tracking server.
        store: The store, where artifacts of a local MLflow go as well.
        notes: What is tracked; a row is written under each that it belongs to. More can follow.
        quiet: Not to say that the server does not answer.
    """

    def __init__(self, uri: str, store: Store, *notes: Note, quiet: bool = False) -> None:
        self.uri, self.quiet = uri, quiet
        self.client: Any = None
        self._mirrors: dict[str, Mirror] = {}
        self._artifacts = None if uri.startswith("http") else store.root / "mlartifacts"
        if not answers(uri):
            self._lost(f"did not answer within {PROBE_SECONDS:.0f} s")
            return
        with self._guarded():
            self.client = _client(uri)
        for note in notes:
            self.follow(note)

    def follow(self, note: Note) -> None:
        """Track a note from now on; or, if it is tracked, the runs that it has by now."""
        if self.client is None:
            return
        with self._guarded():
            key = f"{note.experiment} {note.identity}"
            if key not in self._mirrors:
                self._mirrors[key] = Mirror(self.client, note, self._artifacts)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as e:  # whatever MLflow or its backend raises must not stop training
            self._lost(str(e).splitlines()[0] if str(e) else type(e).__name__)

    def _lost(self, why: str) -> None:
        self.client = None
        if self.quiet:
            return
        print(
            f"presyn: MLflow at {self.uri} is not written ({why}). Training goes on and the store is complete; what is missing "
            "is written when the server is back, by this command or by: presyn sync-mlflow",
            file=sys.stderr,
        )

    def write(self, row: Row) -> None:
        """Write a row as one MLflow run under each of its notes, or complete one that is half there; doubles nothing."""
        if self.client is None:
            return
        with self._guarded():
            for mirror in self._mirrors.values():
                if mirror.has(row.run_id):
                    mirror.write(row)

    def finish(self, *notes: Note) -> None:
        """Complete the parents of these notes, or of all, whose runs are there: parameters, metrics, artifacts and table."""
        if self.client is None:
            return
        with self._guarded():
            for mirror in self._mirrors.values():
                if not notes or mirror.note in notes:
                    mirror.finish()


def _client(uri: str) -> Any:
    # MLflow waits for a dead server for minutes by default.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    from mlflow import MlflowClient

    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(uri)


def sync(store: Store, uri: str) -> bool:
    """Write to MLflow what it lacks of the store: every note with its runs, and runs that belong to none; True if it could."""
    known, ids = notes(store), store.ids()
    loose = set(ids) - {run_id for note in known for run_id in note.run_ids}
    tracker = Tracker(uri, store, *known, Note("run", "run", run_ids=sorted(loose)))
    for run_id in ids:
        row = store.get(run_id)
        if row:
            tracker.write(row)
    tracker.finish()
    return tracker.client is not None
