"""Servers of pages in a browser, on what the store holds."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from pipeline.records.mlflow.notes import read_notes
from pipeline.records.mlflow.server import answers, connect
from pipeline.workspace import Workspace
from presyn import PresynError


def latest_table(workspace: Workspace) -> str:
    """The path, after that of all experiments, of the page with the runs of the latest table; empty without one."""
    tables = [note for note in read_notes(workspace.store) if note.table and Path(note.table).exists()]
    if not tables or not answers(workspace.uri):
        return ""
    latest = max(tables, key=lambda note: Path(note.table or "").stat().st_mtime)
    name = f"{workspace.prefix}/{latest.experiment}" if workspace.prefix else latest.experiment
    try:
        experiment = connect(workspace.uri, workspace.store).get_experiment_by_name(name)
    except Exception:  # whatever MLflow raises: the list of experiments will do
        return ""
    return f"/{experiment.experiment_id}/runs" if experiment else ""


def serve(module: Sequence[str], host: str, port: int, page: str) -> int:
    """Run a server of pages until it is stopped; print its address, and open it where there is a screen.

    Args:
        module: A Python module and its arguments.
        host, port: Where it listens.
        page: What comes after the host in the address.

    Raises:
        PresynError: something else listens there.
    """
    if not 0 < port < 2**16:
        raise PresynError(f"--port must be from 1 to {2**16 - 1}, not {port}.")
    with socket.socket() as s, contextlib.suppress(OSError):
        s.settimeout(1)
        if s.connect_ex((host, port)) == 0:
            raise PresynError(f"Something listens on {host}:{port} already. Choose another port with --port.")
    reached_at = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    address = f"http://{reached_at}:{port}{page}"
    print(address, flush=True)
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        threading.Thread(target=_open, args=(address, reached_at, port), daemon=True).start()
    server = subprocess.Popen([sys.executable, "-m", *module])
    try:
        return server.wait()
    except KeyboardInterrupt:  # the way to end it
        return 0
    finally:
        server.terminate()
        server.wait()


def _open(address: str, host: str, port: int) -> None:
    """Open the address when somebody listens there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
            webbrowser.open(address)
            return
        time.sleep(0.5)
