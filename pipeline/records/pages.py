"""Servers of pages on what the store holds, for a browser."""

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

from pipeline.records.notes import notes
from pipeline.records.server import answers, client_of
from pipeline.records.store import Store
from presyn import PresynError


def latest_table(store: Store, uri: str, prefix: str = "") -> str:
    """The path, after that of all experiments, of the page with the runs of the latest table; empty without one."""
    known = [note for note in notes(store) if note.table and Path(note.table).exists()]
    if not known or not answers(uri):
        return ""
    latest = max(known, key=lambda note: Path(note.table or "").stat().st_mtime)
    name = f"{prefix}/{latest.experiment}" if prefix else latest.experiment
    try:
        found = client_of(uri, store.root / "mlflow.db").get_experiment_by_name(name)
    except Exception:  # whatever MLflow raises: the list of experiments will do
        return ""
    return f"/{found.experiment_id}/runs" if found else ""


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
    seen = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    address = f"http://{seen}:{port}{page}"
    print(address, flush=True)
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        threading.Thread(target=_open, args=(address, seen, port), daemon=True).start()
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
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
            webbrowser.open(address)
            return
        time.sleep(0.5)
