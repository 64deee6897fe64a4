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

from pipeline.records.mlflow.notes import Note, read_notes
from pipeline.records.mlflow.server import answers, connect
from pipeline.records.mlflow.views import KEY_PARAMETER, VIEW, opening_view
from pipeline.workspace import Workspace
from presyn import PresynError


def latest_table(workspace: Workspace) -> str:
    """What follows the address of all experiments: the runs of the latest table or search in the view that fits, or nothing."""
    notes = read_notes(workspace.store)
    shown = [note for note in notes if note.table and Path(note.table).exists()] or [n for n in notes if n.winner] or notes
    if not shown or not answers(workspace.uri):
        return ""
    latest = max(shown, key=lambda note: _time(note, workspace))
    name = f"{workspace.prefix}/{latest.experiment}" if workspace.prefix else latest.experiment
    try:
        experiment = connect(workspace.uri, workspace.store).get_experiment_by_name(name)
    except Exception:  # whatever MLflow raises: the list of experiments will do
        return ""
    if experiment is None:
        return ""
    view = opening_view(latest, [note for note in notes if note.experiment == latest.experiment and note.run_ids])
    is_there = VIEW + view in experiment.tags  # not in one that was written by an earlier version
    return f"/{experiment.experiment_id}/runs" + (f"?{KEY_PARAMETER}={view}" if is_there else "")


def _time(note: Note, workspace: Workspace) -> float:
    """When a note, or the table that it names, was written."""
    path = Path(note.table) if note.table else note.path(workspace.store)
    return path.stat().st_mtime if path.exists() else 0.0


def serve(module: Sequence[str], host: str, port: int, page: str, log: Path) -> int:
    """Run a server of pages until it is stopped; print its address, and open it where there is a screen.

    Args:
        module: A Python module and its arguments.
        host, port: Where it listens.
        page: What comes after the host in the address.
        log: Where what the server says goes.

    Raises:
        PresynError: something else listens there, or the server ends by itself.
    """
    check_port(host, port)
    reached_at = "127.0.0.1" if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    address = f"http://{reached_at}:{port}{page}"
    print(address, flush=True)
    if host in EVERYWHERE:
        print(f"From other machines: http://{socket.gethostname().lower()}:{port}{page}", flush=True)
    print(f"It takes some seconds to start; Ctrl-C ends it. Its log: {log}", flush=True)
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        threading.Thread(target=_open, args=(address, reached_at.strip("[]"), port), daemon=True).start()
    with log.open("w", encoding="utf-8") as file:
        server = subprocess.Popen([sys.executable, "-m", *module], stdout=file, stderr=subprocess.STDOUT)
        try:
            code = server.wait()
        except KeyboardInterrupt:  # the way to end it
            return 0
        finally:
            server.terminate()
            server.wait()
    if code:
        last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()][-1:]
        raise PresynError(f"The server of the pages ended by itself ({' '.join(last) or f'exit code {code}'}). Its log: {log}")
    return 0


EVERYWHERE = ("0.0.0.0", "::")
"""Addresses that stand for all of this machine's."""


PRIVATE = ("10.*", "192.168.*", *(f"172.{number}.*" for number in range(16, 32)), "fc00:*", "fd00:*")
"""Addresses of private networks, to which MLflow's server answers by itself."""


def check_port(host: str, port: int) -> None:
    """Raise a PresynError for a port that is none, or on which something listens."""
    if not 0 < port < 2**16:
        raise PresynError(f"--port must be from 1 to {2**16 - 1}, not {port}.")
    reached_at = "127.0.0.1" if host in EVERYWHERE else host
    with contextlib.suppress(OSError), socket.create_connection((reached_at, port), timeout=1):
        raise PresynError(f"Something listens on {host}:{port} already. Choose another port with --port.")


def security_options(host: str, port: int, names: Sequence[str]) -> list[str]:
    """Options of MLflow's server that let it answer to the names that it is called by.

    By itself it answers to addresses of this machine and of private networks alone, and its pages, which ask by POST, work
    on this machine alone.

    Args:
        host, port: Where it listens.
        names: Further names of this machine, as people write them into a browser.
    """
    if host in ("127.0.0.1", "localhost", "::1") and not names:
        return []
    called = [*names, *([host] if host not in EVERYWHERE else own_names())]
    hosts = dict.fromkeys(["localhost", "127.0.0.1", "[::1]", *(_as_host(name) for name in called)])
    with_ports = [name if ":" in name.rpartition("]")[2] else f"{name},{name}:{port}" for name in hosts]
    origins = [f"http://{name},https://{name}" for names in with_ports for name in names.split(",")]
    options = {
        "--allowed-hosts": ("MLFLOW_SERVER_ALLOWED_HOSTS", [*with_ports, *PRIVATE]),
        "--cors-allowed-origins": ("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", origins),
    }
    chosen = {option: values for option, (variable, values) in options.items() if names or not os.environ.get(variable)}
    return [word for option, values in chosen.items() for word in (option, ",".join(values))]


def own_names() -> list[str]:
    """The names and addresses by which other machines may call this one."""
    names = [socket.gethostname(), socket.getfqdn()]
    with contextlib.suppress(OSError):
        names += [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)]
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):  # for documents: never reached
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as s:
            s.connect((outside, 9))  # sends nothing; the system says from which address it would
            names.append(s.getsockname()[0])
    return list(dict.fromkeys(names))


def _as_host(name: str) -> str:
    """A name as browsers send it: in small letters, an address of IPv6 in brackets."""
    is_ipv6 = name.count(":") > 1 and not name.startswith("[")
    return f"[{name.partition('%')[0]}]" if is_ipv6 else name.lower()


def _open(address: str, host: str, port: int) -> None:
    """Open the address when somebody listens there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
            webbrowser.open(address)
            return
        time.sleep(0.5)
