"""MLflow as a projection of the store: one run per (parent, run id), written live by one writer, rebuildable."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from pipeline.records.mirror import Mirror
from pipeline.records.notes import Note, notes
from pipeline.records.row import Row
from pipeline.records.server import AWAY, PROBE_SECONDS, answers, client_of, is_away, remedy
from pipeline.records.store import Store
from presyn.errors import hide_passwords
from sweeps.files import sqlite_address


class Tracker:
    """Writes rows to MLflow under the parents of their notes; goes silent, saying so once, when the server does not answer.

    Args:
        uri: The tracking server, as `pipeline.records.server.address` gives it.
        store: The store, where artifacts of a local MLflow go as well.
        notes: What is tracked; a row is written under each that it belongs to. More can follow.
        prefix: Before the names of experiments, as in prefix/table1.
        quiet: Not to say that the server does not answer.
    """

    def __init__(self, uri: str, store: Store, *notes: Note, prefix: str = "", quiet: bool = False) -> None:
        self.uri, self.store, self.prefix, self.quiet = uri, store, prefix, quiet
        self.client: Any = None
        self._mirrors: dict[str, Mirror] = {}
        self._own = uri == sqlite_address(store.root / "mlflow.db")
        self._artifacts = None if uri.startswith("http") else store.root / "mlartifacts"
        if not answers(uri):
            self._lost(f"{AWAY[0]} within {PROBE_SECONDS:.0f} s", AWAY[1])
            return
        with self._guarded():
            self.client = client_of(uri, store.root / "mlflow.db")
        for note in notes:
            self.follow(note)

    def follow(self, note: Note) -> None:
        """Track a note from now on; or, if it is tracked, the runs that it has by now."""
        if self.client is None:
            return
        with self._guarded():
            key = f"{note.experiment} {note.identity}"
            if key not in self._mirrors:
                self._mirrors[key] = Mirror(self.client, note, self.store, self.prefix, self._artifacts, self._own)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as e:  # whatever MLflow or its backend raises must not stop training
            why, fix = remedy(e, self.uri)
            self._lost(why, AWAY[1] if is_away(e) else fix)

    def _lost(self, why: str, fix: str) -> None:
        self.client = None
        if not self.quiet:
            told = f"MLflow at {hide_passwords(self.uri)} is not written ({why.rstrip('.')})."
            print(f"presyn: {told} Training goes on and the store is complete. {fix}", file=sys.stderr)

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


def sync(store: Store, uri: str, prefix: str = "") -> bool:
    """Write to MLflow what it lacks of the store: every note with its runs, and runs that belong to none; True if it could."""
    known, ids = notes(store), store.ids()
    loose = set(ids) - {run_id for note in known for run_id in note.run_ids}
    tracker = Tracker(uri, store, *known, Note("run", "run", run_ids=sorted(loose)), prefix=prefix)
    for run_id in ids:
        row = store.get(run_id)
        if row:
            tracker.write(row)
    tracker.finish()
    return tracker.client is not None
