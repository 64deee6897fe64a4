"""The tracking server of MLflow: its address without a password, a client of it, and what helps when it fails."""

import contextlib
import logging
import os
import sqlite3
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from presyn import PresynError
from presyn.errors import hide_passwords
from sweeps.files import set_aside, sqlite_address

PROBE_SECONDS = 3.0
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SCHEMES = ("http", "https", *DATABASES, "databricks")


def address(uri: str) -> str:
    """The address of a tracking server, checked; a user and password in it go where MLflow reads them, and nowhere else.

    They are set as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD of this process, so that no message, note or log
    can show them. A database's address keeps its own; `hide_passwords` hides it wherever the address is shown.

    Raises:
        PresynError: MLflow has no server or database at such an address.
    """
    parts = _parts(uri)
    host = parts.hostname
    scheme = parts.scheme.split("+")[0]
    if uri == "databricks":
        return uri
    if scheme not in SCHEMES:
        fix = (
            "a folder of files is not kept any more: use sqlite:///path/mlflow.db"
            if scheme in ("", "file")
            else "there is none"
        )
        raise PresynError(
            f"--mlflow {hide_passwords(uri)} is no tracking server ({fix}). Write http://host:5000, https://host, or a "
            "database such as sqlite:///path/mlflow.db."
        )
    if scheme not in ("http", "https"):
        return uri
    if not host:
        raise PresynError(f"--mlflow {hide_passwords(uri)} names no host. Write it like http://host:5000.")
    if parts.username is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _parts(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.hostname, parts.port
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or "@" not in uri:
            return parts
    except ValueError:
        pass
    raise PresynError(
        f"--mlflow {hide_passwords(uri)} is no address. Write it like http://host:5000, and / # ? @ : in a password as %2F %23 "
        "%3F %40 %3A; or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    )


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


def client_of(uri: str, own: Path) -> Any:
    """A client of the server; raises whatever MLflow raises.

    Args:
        uri: Its address.
        own: The store's own database, which is made whole or not at all, and remade if it is damaged.
    """
    # MLflow waits for a dead server for minutes by default.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    from mlflow import MlflowClient

    for name in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if uri == sqlite_address(own):
        _set_aside_if_damaged(own)
        if not own.exists():
            _make(own)
        _moved(own)
    try:
        client = MlflowClient(uri)
        if uri == sqlite_address(own) != f"sqlite:///{own}":  # MLflow makes a folder of the name as it stands in the address
            with contextlib.suppress(OSError):
                Path(uri.removeprefix("sqlite:///")).parent.rmdir()
        return client
    except Exception as e:  # of a schema that is not the one of this MLflow
        if uri != sqlite_address(own) or "out-of-date" not in str(e) or _has_runs(own):
            raise
    # Half made by a process that was killed, and empty: there is nothing in it to keep.
    own.unlink()
    _make(own)
    return MlflowClient(uri)


def _has_runs(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return bool(database.execute("SELECT count(*) FROM runs").fetchone()[0])


def _make(path: Path) -> None:
    """Make an empty database under another name, which becomes its own when it is whole."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for left in path.parent.glob(f".{path.name}.partial-*"):  # by processes that were killed
        if time.time() - left.stat().st_mtime > 600:
            left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        SqlAlchemyStore(sqlite_address(partial), str(path.parent / "mlartifacts")).engine.dispose()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _set_aside_if_damaged(path: Path) -> None:
    """Set a database aside that is none, or half made by a process that was killed; it is a projection, and remade."""
    if not path.exists():
        return
    wrong = own_wrong(path)
    if wrong:
        then = " and made again. Runs of earlier commands are written to it by: presyn sync-mlflow"
        set_aside(path, f" was {wrong}", then)


def own_wrong(path: Path) -> str:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" in tables and "runs" in tables and "experiments" in tables:
                version = database.execute("SELECT version_num FROM alembic_version").fetchone()
                database.execute("SELECT experiment_id, artifact_location FROM experiments").fetchone()
                database.execute("SELECT run_uuid, artifact_uri FROM runs").fetchone()
                return "" if version else "half made"
            return "half made"
    except sqlite3.OperationalError as e:
        return "" if "lock" in str(e) or "unable to open" in str(e) else f"damaged ({e})"
    except sqlite3.DatabaseError as e:
        return f"damaged ({e})"


def _moved(path: Path) -> None:
    """Let the experiments of a store that was moved or copied keep their artifacts where the store is now."""
    folder = (path.parent / "mlartifacts").as_uri()
    with contextlib.closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT artifact_location FROM experiments WHERE artifact_location LIKE '%/mlartifacts/%'")
        others = {where.rpartition("/mlartifacts/")[0] + "/mlartifacts" for (where,) in found} - {folder}
        for other in others:
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (folder, len(other) + 1, len(other), other),
                )
        if others:
            database.commit()


def remedy(error: Exception, uri: str) -> tuple[str, str]:
    """Why MLflow is not written, and what helps, in words; none of them shows a password."""
    if isinstance(error, PresynError):
        return str(error), "Then write what is missing with: presyn sync-mlflow"
    text = hide_passwords(str(error) or type(error).__name__)
    sync = "; then write what is missing with: presyn sync-mlflow"
    for signs, why, fix in _REMEDIES:
        if any(sign.lower() in f"{type(error).__name__} {text}".lower() for sign in signs):
            return why or text.splitlines()[0], fix.format(uri=hide_passwords(uri)) + sync
    return text.splitlines()[0], "When that is mended, write what is missing with: presyn sync-mlflow"


AWAY = ("did not answer", "What is missing is written when the server is back, by this command or by: presyn sync-mlflow")
_BEHIND = "Check the address, and that no proxy stands before it (NO_PROXY names hosts that are reached without one)"
_REMEDIES: list[tuple[tuple[str, ...], str, str]] = [
    (
        ("error code 401", "not authenticated", "401 unauthorized"),
        "it wants a user and a password, or other ones",
        "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    (
        ("error code 403", "permission_denied"),
        "this user may not write there",
        "Ask for permission, or name another server with --mlflow",
    ),
    (("error code 407", "proxyerror"), "a proxy stands in the way", _BEHIND),
    (
        ("sslerror", "ssl:"),
        "its certificate or its protocol is not what https expects",
        "Write http:// if the server speaks that, or see MLFLOW_TRACKING_SERVER_CERT_PATH",
    ),
    (
        ("out-of-date database schema",),
        "its database is of another version of MLflow",
        "If MLflow here is the newer one: mlflow db upgrade {uri}; else install the one that made it",
    ),
    (
        ("no module named", "can't load plugin"),
        "",
        "Install the driver of that database, such as psycopg2-binary for postgresql://, into this environment",
    ),
    (("readonly database", "disk i/o error", "disk is full", "unable to open database", "no space left"), "",
     "Free space, or fix the permissions of that file"),
    (("not a database", "malformed", "no such column", "no such table"), "its database is damaged or half made",
     "Move the file of {uri} away"),
    (("endpoint_not_found", "error code 404", "error code 502", "error code 503", "not in a valid", "jsondecode",
      "expecting value"), "something that is not MLflow answers there", _BEHIND),
]  # fmt: skip
_GONE = ("max retries", "connection", "timed out", "timeout")


def is_away(error: Exception) -> bool:
    """Whether the server could not be reached, so that waiting for it helps."""
    text = f"{type(error).__name__} {error}".lower()
    return any(sign in text for sign in _GONE) and not any(sign in text for sign in ("sslerror", "ssl:", "proxyerror"))
