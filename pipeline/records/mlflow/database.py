"""The store's own MLflow database: a projection of the store, so what cannot be opened is set aside and made again.

Everything that makes or replaces it happens under a lock that every process takes before it opens the database.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import filelock

from pipeline.records.files import file_lock
from presyn import PresynError
from sweeps.files import set_aside, sqlite_address

WAIT_SECONDS = 120.0
"""For another process that makes the database."""
DEFAULT_EXPERIMENT = "0"
"""The id of the experiment that MLflow makes by itself."""
PLACES = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"),
    ("model_versions", "source"), ("model_versions", "storage_location"),
)  # fmt: skip
"""Tables and columns in which MLflow keeps where artifacts are."""
PLACES_OF_PRESYN = """
SELECT DISTINCT artifact_location FROM experiments WHERE experiment_id = ? OR experiment_id IN
(SELECT experiment_id FROM runs JOIN tags USING (run_uuid) WHERE key IN ('presyn_store', 'run_id'))
"""
"""Where experiments of presyn and MLflow's default one keep artifacts."""
TABLES = {"alembic_version", "runs", "experiments", "params", "metrics", "latest_metrics", "tags", "experiment_tags"}


def open_own(path: Path) -> Any:
    """A client of the store's own database, which is made if it is missing or damaged.

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
        else:
            _follow_store(path)
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


def _follow_store(path: Path) -> None:
    """Let artifacts be where the store is now: MLflow keeps their places as they were when they were made.

    What lies elsewhere, such as an experiment of people's own, stays there. One transaction moves all, so that a process that
    is killed meanwhile leaves either the places of before or those of now.
    """
    here = path.parent.resolve() / "mlartifacts"
    with contextlib.closing(sqlite3.connect(path)) as database:
        try:
            places = [place or "" for (place,) in database.execute(PLACES_OF_PRESYN, (DEFAULT_EXPERIMENT,))]
            stores = {place.rpartition("/mlartifacts/")[0] for place in places if place.startswith(("file:///", "/"))} - {""}
            for before in (_local_path(store) / "mlartifacts" for store in stores):
                if before != here and not (before.exists() and here.exists() and before.samefile(here)):
                    _replace_places(database, before, here)
            database.commit()
        except sqlite3.OperationalError:  # somebody holds it just now
            return


def _replace_places(database: sqlite3.Connection, before: Path, now: Path) -> None:
    """Replace a folder of artifacts by another one in all places that MLflow keeps, whether they are paths or addresses."""
    for table, column in PLACES:
        if any(name == column for _, name, *_ in database.execute(f"PRAGMA table_info({table})")):
            for old, new in ((before.as_uri(), now.as_uri()), (str(before), str(now))):
                moved = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                database.execute(moved, (new, len(old) + 1, len(old) + 1, f"{old}/"))


def _local_path(place: str) -> Path:
    """The path of a folder on this machine that is given as one or as a file address."""
    return Path(unquote(urlsplit(place).path)) if place.startswith("file:") else Path(place)
