"""MLflow written beside the training, by a thread of its own that never holds it up."""

import sys
import threading
import time

from pipeline.records.mlflow import Tracker
from pipeline.records.notes import Note
from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn.errors import hide_passwords

KEPT = 1000  # rows that wait in memory; more are read from the store when their turn comes
RETRY_SECONDS = 30.0  # between two tries to reach a server that is away
LAST_SECONDS = 5.0  # the same when all else is done


class Tracking:
    """What `Tracker` does, later: rows and notes wait in a queue, also while the server is away.

    Args:
        uri: The tracking server.
        store: The store, from which what does not fit into the queue is read.
        prefix: Before the names of experiments.
    """

    def __init__(self, uri: str, store: Store, prefix: str = "") -> None:
        self.uri, self.store, self.prefix = uri, store, prefix
        self._rows: dict[str, Row | None] = {}
        self._notes: list[Note] = []
        self._ends: list[Note] = []
        self._new = threading.Condition()
        self._closing = False
        self._tracker: Tracker | None = None
        self._tried = 0.0
        self._thread = threading.Thread(target=self._work, daemon=True, name="MLflow")
        self._thread.start()

    def follow(self, note: Note) -> None:
        """Track a note from now on, with the runs that it has by then."""
        with self._new:
            if note not in self._notes:
                self._notes.append(note)
            self._new.notify()

    def write(self, row: Row) -> None:
        """Write a row when its turn comes."""
        with self._new:
            self._rows[row.run_id] = row if len(self._rows) < KEPT else None
            self._new.notify()

    def finish(self, note: Note) -> None:
        """Complete the parent of a note, after the rows that wait."""
        with self._new:
            self._ends.append(note)
            self._new.notify()

    @property
    def waiting(self) -> int:
        """Runs that are not written yet."""
        return len(self._rows)

    def close(self, seconds: float | None = None) -> bool:
        """Write what waits, and end; False if something still waits because the server is away, or time was up.

        Args:
            seconds: How long to wait for that; None as long as it goes on.
        """
        with self._new:
            self._closing = True
            self._new.notify()
        self._thread.join(seconds)
        return not (self._rows or self._ends)

    def _work(self) -> None:
        while True:
            with self._new:
                idle = not (self._rows or self._ends)
                if self._closing and (idle or self._away()):
                    return
                if idle or self._away():
                    self._new.wait(RETRY_SECONDS if self._away() else None)
                    continue
            self._advance()

    def _away(self) -> bool:
        """Whether the server is away, and it is too early to look again."""
        lost = self._tracker is not None and self._tracker.client is None
        return lost and time.monotonic() - self._tried < (LAST_SECONDS if self._closing else RETRY_SECONDS)

    def _advance(self) -> None:
        """Write one row; or what comes after the rows."""
        tracker = self._reached()
        if tracker is None:
            return
        with self._new:
            notes, run_id = list(self._notes), next(iter(self._rows), None)
            row = self._rows.pop(run_id) if run_id else None  # one that is written again meanwhile comes once more
            ends = list(self._ends)
        for note in notes:
            tracker.follow(note)
        if run_id:
            row = row or self.store.get(run_id)
            if row is not None:
                tracker.write(row)
        else:
            tracker.finish(*ends)
        if tracker.client is None:
            self._tried = time.monotonic()
            if run_id:
                with self._new:
                    self._rows.setdefault(run_id, row)
            return
        with self._new:
            if not run_id:
                self._ends = self._ends[len(ends) :]

    def _reached(self) -> Tracker | None:
        """The tracker, made again if the server was away; None if it is still."""
        before = self._tracker
        if before is None or before.client is None:
            self._tried = time.monotonic()
            self._tracker = Tracker(self.uri, self.store, prefix=self.prefix, quiet=before is not None)
            if self._tracker.client is None:
                return None
            if before is not None:
                print(f"presyn: MLflow at {hide_passwords(self.uri)} is written again.", file=sys.stderr)
        return self._tracker
