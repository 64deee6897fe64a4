"""The store's own MLflow database: a projection of the store, so what cannot be opened is set aside and made again.

Everything that makes or replaces it happens under a lock that every process takes before it opens the database.
"""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import filelock

from pipeline.records.files import file_lock
from pipeline.records.mlflow.content import name_by_people, written_by_people
from pipeline.records.store import Store
from presyn import PresynError
from sweeps.files import set_aside, sqlite_address

WAIT_SECONDS = 120.0
"""For another process that makes the database."""
DEFAULT_EXPERIMENT = "0"
"""The id of the experiment that MLflow makes by itself."""
TABLES = {"alembic_version", "runs", "experiments", "params", "metrics", "latest_metrics", "tags", "experiment_tags"}


def open_own(store: Store, path: Path) -> Any:
    """A client of the store's own database, which is made if it is missing, damaged, or of a store that was moved.

    Raises:
        PresynError: another process has been making it for too long.
    """
    from mlflow import MlflowClient

    try:
        lock = file_lock(path.with_name(".mlflow.lock"), timeout=WAIT_SECONDS)
    except filelock.Timeout:
        raise PresynError(f"{path} is held by another process") from None
    with lock:
        for left in path.parent.glob(f".{path.name}.partial-*"):  # by a process that was killed: this one has the lock
            left.unlink(missing_ok=True)
        wrong = what_is_wrong(path) if path.exists() else ""
        if wrong:
            then = " and made again. Runs of earlier commands are written to it by: presyn sync-mlflow"
            set_aside(path, f" was {wrong}", then)
        if not path.exists():
            _make(path, path.parent / "mlartifacts")
        elif _was_moved(path):
            _rebuild(store, path)
        try:
            client = MlflowClient(sqlite_address(path))
        except Exception as e:  # of a schema that is not the one of this MLflow
            if "out-of-date" not in str(e) or _has_runs(path):
                raise
            # Half made by a process that was killed, and empty: there is nothing in it to keep.
            path.unlink()
            _make(path, path.parent / "mlartifacts")
            client = MlflowClient(sqlite_address(path))
    return client


def _has_runs(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return bool(database.execute("SELECT count(*) FROM runs").fetchone()[0])


def _make(path: Path, artifacts: Path) -> None:
    """Make an empty database under another name, which gets its own when it is whole."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        # MLflow writes this place into a statement as it stands, which a quote would end.
        SqlAlchemyStore(sqlite_address(partial), "mlflow-artifacts:/").engine.dispose()
        with contextlib.closing(sqlite3.connect(partial)) as database:
            database.execute("UPDATE experiments SET artifact_location = ?", ((artifacts / DEFAULT_EXPERIMENT).as_uri(),))
            database.commit()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def what_is_wrong(path: Path) -> str:
    """Whether a database cannot be MLflow's, in words after "it was"; empty for a sound one, or one that is in use."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            version = database.execute("SELECT version_num FROM alembic_version").fetchone() if tables >= TABLES else None
            if version is None:
                return "half made"
            missing = sorted(_all_tables(version[0]) - tables)
            if missing:
                return f"damaged (it has no table {missing[0]})"
            for table, other in (("tags", "runs"), ("metrics", "latest_metrics")):
                if database.execute(f"SELECT NOT EXISTS (SELECT * FROM {table}) AND EXISTS (SELECT * FROM {other})").fetchone()[
                    0
                ]:
                    return f"damaged (its table {table} is empty)"
            database.execute("SELECT experiment_id, artifact_location FROM experiments").fetchone()
            database.execute("SELECT run_uuid, artifact_uri FROM runs").fetchone()
            return ""
    except sqlite3.OperationalError as e:
        return "" if "lock" in str(e) or "unable to open" in str(e) else f"damaged ({e})"
    except sqlite3.DatabaseError as e:
        return f"damaged ({e})"


def _all_tables(version: str) -> set[str]:
    """The tables of a database of this MLflow; none of one of another version, which has others."""
    from mlflow.store.db.utils import _get_latest_schema_revision
    from mlflow.store.tracking.dbmodels.models import Base

    return set(Base.metadata.tables) if version == _get_latest_schema_revision() else set()


def _was_moved(path: Path) -> bool:
    """Whether experiments keep their artifacts where the store once was, and not where it is now."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        try:
            places = [place for (place,) in database.execute("SELECT artifact_location FROM experiments") if place]
        except sqlite3.OperationalError:  # somebody holds it just now
            return False
    here = path.parent / "mlartifacts"
    return any("/mlartifacts" in place and not place.startswith((here.as_uri(), str(here))) for place in places)


def _rebuild(store: Store, path: Path) -> None:
    """Make the database of a store that was moved again from the store, with what people wrote and logged in the old one.

    The old one stays until the new one is whole, so a process that is killed meanwhile loses nothing. MLflow remembers a
    database by its path for as long as a process lives, so neither is opened by the path that stays.
    """
    from mlflow import MlflowClient

    from pipeline.records.mlflow.writer import Writer, write_everything  # it opens databases by this module

    old, new = (path.with_name(f".{path.name}.{name}-{os.getpid()}") for name in ("old", "moved"))
    try:
        shutil.copy(path, old)
        _make(new, path.parent / "mlartifacts")
        client = write_everything(store, lambda *notes: Writer(sqlite_address(new), store, *notes)).client
        if client is None:
            raise PresynError(f"{path} belongs to a store that was moved, and could not be made again")
        _carry_over(MlflowClient(sqlite_address(old)), client, path.parent / "mlartifacts")
        path.replace(path.with_suffix(".before"))
        new.replace(path)
    finally:
        old.unlink(missing_ok=True)
        new.unlink(missing_ok=True)


def _carry_over(old: Any, new: Any, artifacts: Path) -> None:
    """Give runs the names, descriptions, tags and artifacts that their predecessors have."""
    for experiment in new.search_experiments():
        before = old.get_experiment_by_name(experiment.name)
        if before is None:
            continue
        predecessors = {_key(run, old): run for run in old.search_runs([before.experiment_id], max_results=50_000)}
        for run in new.search_runs([experiment.experiment_id], max_results=50_000):
            predecessor = predecessors.get(_key(run, new))
            if predecessor is None:
                continue
            for name, value in written_by_people(predecessor, dict(run.data.tags)).items():
                new.set_tag(run.info.run_id, name, value)
            if name := name_by_people(predecessor):
                new.update_run(run.info.run_id, name=name)
            place = unquote(urlsplit(predecessor.info.artifact_uri).path).partition("/mlartifacts/")[2]
            if place and (artifacts / place).is_dir():
                target = Path(unquote(urlsplit(run.info.artifact_uri).path))
                shutil.copytree(artifacts / place, target, dirs_exist_ok=True)


def _key(run: Any, client: Any) -> tuple[str, str]:
    """What tells a run from others of its experiment: its parent's identity, or its own, and its row."""
    tags = run.data.tags
    parent = tags.get("mlflow.parentRunId")
    identity = client.get_run(parent).data.tags.get("presyn_parent", "") if parent else tags.get("presyn_parent", "")
    return identity, tags.get("run_id", "")
