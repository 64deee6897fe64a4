"""The tracking server of MLflow: its address without a password, a client of it, and what helps when it fails."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pipeline.records.mlflow import database
from pipeline.records.store import Store
from presyn import PresynError
from presyn.errors import hide_passwords
from sweeps.files import sqlite_address

PROBE_SECONDS = 3.0
CALL_SECONDS = 60.0
"""For a call of a server, whose answer may come a byte at a time for ever; a file that is put there takes longer."""
FILE_SECONDS = 120.0
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SCHEMES = ("http", "https", *DATABASES, "databricks")


def address(uri: str) -> str:
    """The address of a tracking server, checked; a user and password in it go where MLflow reads them, and nowhere else.

    They are set as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD of this process, so that no message, note or log
    can show them. A database's address keeps its own; `hide_passwords` hides it wherever the address is shown.

    Raises:
        PresynError: MLflow has no server or database at such an address.
    """
    parts = _split(uri)
    scheme = parts.scheme.split("+")[0]
    if uri == "databricks":
        return uri
    if scheme not in SCHEMES:
        is_folder = scheme in ("", "file")
        fix = "a folder of files is not kept any more: use sqlite:///path/mlflow.db" if is_folder else "there is none"
        raise PresynError(
            f"--mlflow {hide_passwords(uri)} is no tracking server ({fix}). Write http://host:5000, https://host, or a "
            "database such as sqlite:///path/mlflow.db."
        )
    if scheme not in ("http", "https"):
        return uri
    if not parts.hostname:
        raise PresynError(f"--mlflow {hide_passwords(uri)} names no host. Write it like http://host:5000.")
    if parts.username is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.hostname, parts.port
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or "@" not in uri:
            return parts
    except ValueError:
        pass
    raise PresynError(
        f"--mlflow {hide_passwords(uri)} is no address. Write it like http://host:5000, and / # ? @ : in a password as "
        "%2F %23 %3F %40 %3A; or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    )


def answers(uri: str) -> bool:
    """Whether a tracking server answers within PROBE_SECONDS, however slowly it sends; files and databases always do."""
    if not uri.startswith("http"):
        return True
    heard = threading.Event()
    threading.Thread(target=_ask, args=(uri, heard), daemon=True, name="probe of MLflow").start()
    return heard.wait(PROBE_SECONDS)


def _ask(uri: str, heard: threading.Event) -> None:
    import requests
    import urllib3

    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true"
    if insecure:  # who asked for it is not told again with every call
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    certificates = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    try:
        requests.get(
            f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS, stream=True, verify=certificates or not insecure
        ).close()
    except requests.exceptions.SSLError:
        pass  # it is there; MLflow says what is wrong with its certificate
    except Exception:  # whatever requests raises: nothing answers, or what answers speaks no HTTP
        return
    heard.set()  # of any status: it is there, and a proxy may hide /health


class PatientClient:
    """A client of a tracking server whose calls end in time: MLflow waits for a byte only so long, and for an answer for ever.

    A call that did not end is left to a thread that ends with the process.

    Args:
        client: MLflow's own.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if not callable(call):
            return call
        seconds = FILE_SECONDS if name.startswith(("log_artifact", "log_table", "log_dict")) else CALL_SECONDS
        return lambda *arguments, **named: _within(seconds, partial(call, *arguments, **named))


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What a call gives or raises.

    Raises:
        TimeoutError: it did not end in time.
    """
    outcome: Future[Any] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as e:
            outcome.set_exception(e)

    threading.Thread(target=work, daemon=True, name="call of MLflow").start()
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():  # its own
            raise
        raise TimeoutError(f"timed out: no whole answer within {seconds:.0f} s") from None


def connect(uri: str, store: Store) -> Any:
    """A client of the server; raises whatever MLflow raises.

    Args:
        uri: Its address.
        store: Whose own database is made whole or not at all, and remade if it cannot be opened.
    """
    # MLflow waits for a dead server for minutes by default, and as long as a busy one asks for.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    from mlflow import MlflowClient

    for name in ("mlflow", "mlflow.store.db.utils", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    path = store.root / "mlflow.db"
    if uri.startswith("http"):
        return PatientClient(MlflowClient(uri))
    if uri != sqlite_address(path):
        return MlflowClient(uri)
    client = database.open_own(path)
    if uri != f"sqlite:///{path}":  # MLflow makes a folder of the name as it stands in the address
        with contextlib.suppress(OSError):
            Path(uri.removeprefix("sqlite:///")).parent.rmdir()
    return client


def remedy(error: Exception, uri: str) -> tuple[str, str]:
    """Why MLflow is not written, and what helps, in words; none of them shows a password."""
    if isinstance(error, PresynError):
        return str(error), "Then write what is missing with: presyn sync-mlflow"
    text = hide_passwords(str(error) or type(error).__name__)
    sync = "; then write what is missing with: presyn sync-mlflow"
    for signs, why, fix in _REMEDIES:
        if any(sign.lower() in f"{type(error).__name__} {text}".lower() for sign in signs):
            shown = hide_passwords(uri)
            parts = urlsplit(shown)
            names = {"uri": shown, "host": parts.hostname or shown, "origin": f"{parts.scheme}://{parts.netloc}"}
            return why or text.splitlines()[0], fix.format(**names) + sync
    return text.splitlines()[0], "When that is mended, write what is missing with: presyn sync-mlflow"


AWAY = ("did not answer", "What is missing is written when the server is back, by this command or by: presyn sync-mlflow")
_BEHIND = "Check the address, and that no proxy stands before it (NO_PROXY names hosts that are reached without one)"
_ASK = "Ask for permission, or name another server with --mlflow"
_REMEDIES: list[tuple[tuple[str, ...], str, str]] = [
    (
        ("error code 401", "not authenticated", "401 unauthorized"),
        "it wants a user and a password, or other ones",
        "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    (
        ("invalid host header", "dns rebinding"),
        "it does not answer to this name of its host, which --allowed-hosts of the server does not have",
        "Start the server with --allowed-hosts {host},{host}:* and --cors-allowed-origins {origin} (presyn mlflow-ui: "
        "--allowed-hosts {host}), or use its address in numbers",
    ),
    (
        ("cross-origin request blocked",),
        "it takes nothing from pages of this name, which --cors-allowed-origins of the server does not have",
        "Start the server with --cors-allowed-origins {origin}",
    ),
    (("permission_denied", "permission denied"), "this user may not write there", _ASK),
    (
        ("error code 403",),
        "it refuses this (403): this user may not write there, or a proxy or a list of allowed hosts does not let it through",
        f"{_ASK}; see also --allowed-hosts of MLflow's server",
    ),
    (("error code 407", "proxyerror"), "a proxy stands in the way", _BEHIND),
    (
        ("sslerror", "ssl:"),
        "its certificate or its protocol is not what https expects",
        "Write http:// if the server speaks that, or see MLFLOW_TRACKING_SERVER_CERT_PATH and MLFLOW_TRACKING_INSECURE_TLS",
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
    (
        ("readonly database", "disk i/o error", "disk is full", "unable to open database", "no space left"),
        "",
        "Free space, or fix the permissions of that file",
    ),
    (
        ("not a database", "malformed", "no such column", "no such table"),
        "its database is damaged or half made",
        "Move the file of {uri} away",
    ),
    (
        (
            "endpoint_not_found", "error code 404", "error code 502", "error code 503", "not in a valid", "jsondecode",
            "expecting value", "badstatusline", "bad status line", "remotedisconnected",
        ),
        "something that is not MLflow answers there",
        _BEHIND,
    ),
]  # fmt: skip
_GONE = ("max retries", "connection", "timed out", "timeout", "too many 503", "too many 429")


def is_away(error: Exception) -> bool:
    """Whether the server could not be reached, so that waiting for it helps."""
    text = f"{type(error).__name__} {error}".lower()
    return any(sign in text for sign in _GONE) and not any(sign in text for sign in ("sslerror", "ssl:", "proxyerror"))


_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE", "BAD_REQUEST")


def is_refusal(error: Exception) -> bool:
    """Whether MLflow works and does not take just this: a name that it has no place for, an experiment that was deleted."""
    return isinstance(error, PresynError) or getattr(error, "error_code", "") in _REFUSALS
