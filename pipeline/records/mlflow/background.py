"""MLflow written beside the training, by a thread of its own that never holds it up."""

import sys
import threading
import time

from pipeline.records.mlflow.notes import Note
from pipeline.records.mlflow.writer import Writer
from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn.errors import hide_passwords

KEPT = 1000
"""Rows that wait in memory; more are read from the store when their turn comes."""
RETRY_SECONDS = 30.0
"""Between two tries to reach a server that is away."""
LAST_RETRY_SECONDS = 5.0
"""Between two tries when everything else is done."""
STALLED_SECONDS = 120.0
"""Without a run or a table written, after which a command no longer waits for MLflow at its end."""


class BackgroundWriter:
    """What `Writer` does, later and by a thread: rows and notes wait in a queue, also while the server is away.

    Args:
        uri: The tracking server.
        store: The store, from which what does not fit into the queue is read.
        prefix: Before the names of experiments.
    """

    def __init__(self, uri: str, store: Store, prefix: str = "") -> None:
        self.uri, self.store, self.prefix = uri, store, prefix
        self._rows: dict[str, Row | None] = {}
        self._notes: list[Note] = []
        self._finished: list[Note] = []
        self._changed = threading.Condition()
        self._closing = False
        self._writer: Writer | None = None
        self._last_try = 0.0
        self._written = 0
        self._thread = threading.Thread(target=self._work, daemon=True, name="MLflow")
        self._thread.start()

    def follow(self, note: Note) -> None:
        """Track a note from now on, with the runs that it has by then."""
        with self._changed:
            if note not in self._notes:
                self._notes.append(note)
            self._changed.notify()

    def write(self, row: Row) -> None:
        """Write a row when its turn comes."""
        with self._changed:
            self._rows[row.run_id] = row if len(self._rows) < KEPT else None
            self._changed.notify()

    def finish(self, note: Note) -> None:
        """Complete the parent of a note, after the rows that wait."""
        with self._changed:
            self._finished.append(note)
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Runs that are not written yet."""
        return len(self._rows)

    def close(self, seconds: float | None = None) -> bool:
        """Write what waits, and end; False if something still waits because the server is away, or time was up.

        Args:
            seconds: How long to wait for that; None as long as it goes on.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        if seconds is not None:
            self._thread.join(seconds)
        else:
            self._join_while_it_goes_on()
        return not (self._rows or self._finished)

    def stop(self, seconds: float) -> None:
        """End after what is being written, or after some seconds; what waits is left to the next command."""
        with self._changed:
            self._closing = True
            self._rows.clear()
            self._finished.clear()
            self._changed.notify()
        self._thread.join(seconds)

    def _join_while_it_goes_on(self) -> None:
        """Wait for the thread as long as it writes something now and then."""
        written, since = self._written, time.monotonic()
        while self._thread.is_alive():
            self._thread.join(1.0)
            if self._written != written:
                written, since = self._written, time.monotonic()
            elif time.monotonic() - since > STALLED_SECONDS:
                print(
                    f"presyn: MLflow at {hide_passwords(self.uri)} has taken nothing for {STALLED_SECONDS:.0f} s: this command "
                    "ends. Write what is missing with: presyn sync-mlflow",
                    file=sys.stderr,
                )
                return

    def _work(self) -> None:
        while True:
            with self._changed:
                idle = not (self._rows or self._finished)
                if self._closing and (idle or self._away()):
                    return
                if idle or self._away():
                    self._changed.wait(RETRY_SECONDS if self._away() else None)
                    continue
            self._advance()

    def _away(self) -> bool:
        """Whether the server is away, and it is too early to look again."""
        away = self._writer is not None and self._writer.client is None
        return away and time.monotonic() - self._last_try < (LAST_RETRY_SECONDS if self._closing else RETRY_SECONDS)

    def _advance(self) -> None:
        """Write one row; or what comes after the rows."""
        writer = self._reached()
        if writer is None:
            return
        with self._changed:
            notes, run_id = list(self._notes), next(iter(self._rows), None)
            row = self._rows.pop(run_id) if run_id else None  # one that is written again meanwhile comes once more
            finished = list(self._finished)
        for note in notes:
            writer.follow(note)
        if run_id:
            row = row or self.store.get(run_id)
            if row is not None:
                writer.write(row)
        else:
            writer.finish(*finished)
        if writer.client is None:
            self._last_try = time.monotonic()
            if run_id:
                with self._changed:
                    self._rows.setdefault(run_id, row)
            return
        with self._changed:
            self._written += 1
            if not run_id:
                self._finished = self._finished[len(finished) :]

    def _reached(self) -> Writer | None:
        """The writer, made again if the server was away; None if it is still."""
        before = self._writer
        if before is None or before.client is None:
            self._last_try = time.monotonic()
            self._writer = Writer(self.uri, self.store, prefix=self.prefix, quiet=before is not None)
            if self._writer.client is None:
                self._last_try = time.monotonic()  # a try can take longer than the time between two
                return None
            if before is not None:
                print(f"presyn: MLflow at {hide_passwords(self.uri)} is written again.", file=sys.stderr)
        return self._writer
