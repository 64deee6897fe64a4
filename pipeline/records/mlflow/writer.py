"""The one writer of MLflow. Its input is what the store holds, and each of its calls can be repeated."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from pipeline.records.mlflow.note_writer import NoteWriter, all_pages
from pipeline.records.mlflow.notes import Note, read_notes
from pipeline.records.mlflow.server import AWAY, PROBE_SECONDS, answers, connect, is_away, is_refusal, remedy
from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import PresynError
from presyn.errors import hide_passwords
from sweeps.files import sqlite_address


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
        self._writers: dict[str, NoteWriter | None] = {}
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
        key = _key(note)
        if key not in self._writers:
            with self._guarded(note):
                self._writers[key] = NoteWriter(
                    self.client, note, self.store, self.prefix, self._artifacts, self._is_own_database
                )
        writer = self._writers.get(key)
        if writer is not None:
            with self._guarded(note):
                writer.write_steps()

    @property
    def refused(self) -> int:
        """Notes that MLflow does not take."""
        return sum(writer is None for writer in self._writers.values())

    @contextlib.contextmanager
    def _guarded(self, note: Note | None = None) -> Iterator[None]:
        """Say what MLflow or its backend raises, and go on without it; what it has against one note holds up no other."""
        try:
            yield
        except Exception as e:  # whatever is raised must not stop training
            why, fix = remedy(e, self.uri)
            if note is None or not is_refusal(e):
                self._go_silent(why, AWAY[1] if is_away(e) else fix)
                return
            self._writers[_key(note)] = None
            print(
                f"presyn: {note.name or note.experiment} is not written to MLflow ({why.rstrip('.')}). {fix}", file=sys.stderr
            )

    def _go_silent(self, why: str, fix: str) -> None:
        self.client = None
        if not self.quiet:
            line = f"MLflow at {hide_passwords(self.uri)} is not written ({why.rstrip('.')})."
            print(f"presyn: {line} Training goes on and the store is complete. {fix}", file=sys.stderr)

    def write(self, row: Row) -> None:
        """Write a row as one MLflow run under each of its notes, or complete one that is half there; doubles nothing."""
        self._for_each_note(lambda writer: writer.write(row))

    def _for_each_note(self, act: Callable[[NoteWriter], None]) -> None:
        for writer in [writer for writer in self._writers.values() if writer is not None]:
            if self.client is None:
                return
            with self._guarded(writer.note):
                act(writer)

    def finish(self, *notes: Note) -> None:
        """Complete the parents of these notes, or of all, whose runs are there: parameters, metrics, artifacts and table."""
        self._for_each_note(lambda writer: writer.finish() if not notes or writer.note in notes else None)


LOOSE = Note("run", "run", about="Runs of the command presyn run, and runs that were imported.")
"""The note of runs that belong to no other."""


def _key(note: Note) -> str:
    """What tells a note from others of a writer."""
    return f"{note.experiment} {note.identity}"


def sync(store: Store, uri: str, prefix: str = "") -> bool:
    """Write to MLflow what it lacks of the store: every note with its runs, and runs that belong to none; True if it could."""
    writer = write_everything(store, lambda *notes: Writer(uri, store, *notes, prefix=prefix))
    return writer.client is not None and not writer.refused


def write_everything(store: Store, make_writer: Any) -> Writer:
    """Write all that the store holds by a writer that is made for its notes; returns the writer."""
    notes, ids = read_notes(store), store.ids()
    loose = set(ids) - {run_id for note in notes for run_id in note.run_ids}
    of_runs = next((note for note in notes if _key(note) == _key(LOOSE)), LOOSE)
    others = [note for note in notes if note is not of_runs]
    writer: Writer = make_writer(*others, replace(of_runs, run_ids=sorted({*of_runs.run_ids, *loose})))
    for run_id in ids:
        row = store.get(run_id)
        if row:
            writer.write(row)
    writer.finish()
    return writer


def delete_runs(store: Store, uri: str, run_ids: Iterable[str]) -> int:
    """Delete the runs that this store has in MLflow of some rows, from whatever experiment; returns how many.

    MLflow keeps what is deleted until `mlflow gc`.

    Raises:
        PresynError: MLflow cannot be reached or written.
    """
    database = store.root / "mlflow.db"
    is_own = uri == sqlite_address(database)
    if is_own and not database.exists():
        return 0
    where = f"MLflow at {hide_passwords(uri)}"
    if not answers(uri):
        raise PresynError(f"{where} {AWAY[0]} within {PROBE_SECONDS:.0f} s")
    try:
        client = connect(uri, store)
        experiments = [experiment.experiment_id for experiment in all_pages(client.search_experiments)]
        deleted = 0
        for run_id in run_ids:
            search = partial(client.search_runs, experiments, f"tags.run_id = '{run_id}'")
            for run in all_pages(search):
                if run.data.tags.get("presyn_store", store.id if is_own else "") == store.id:
                    client.delete_run(run.info.run_id)
                    deleted += 1
        return deleted
    except Exception as e:  # whatever MLflow or its backend raises
        raise PresynError(f"{where} cannot be written ({remedy(e, uri)[0].rstrip('.')})") from None
