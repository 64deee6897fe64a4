"""The result store: one small file per run, written atomically by the one driver that holds the lock.

It is the source of truth; MLflow and the tables are made from it.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import filelock

from pipeline.records.files import write_whole
from pipeline.records.row import Row
from presyn import RULES_VERSION, PresynError, Run
from sweeps.files import set_aside


@cache
def code_version() -> dict[str, Any]:
    """Commit and cleanliness of the code, and the versions it runs with, as they were when this process started."""

    folder = Path(__file__).parents[2]
    own = (folder / ".git").exists()  # a wheel may lie in somebody else's repository

    def git(*arguments: str) -> str:
        if not own:
            return ""
        try:
            return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ""

    import numpy
    import torch

    dirty = bool(git("status", "--porcelain", "--untracked-files=no", "--", "presyn", "sweeps", "pipeline"))
    return {
        "git_commit": git("rev-parse", "HEAD") or os.environ.get("PRESYN_COMMIT") or "unknown",
        "git_dirty": dirty,
        "rules_version": RULES_VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


def _who(holder: Path) -> str:
    """Who holds a store, by what it wrote there."""
    try:
        h = json.loads(holder.read_text())
        return f"'{h['command']}' (process {h['pid']} on {h['host']}, since {h['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another presyn"


class Store:
    """Results, manifests and checkpoints in a folder.

    Args:
        root: The folder; made if missing.
        checkpoints: Another folder for them, such as one that is no path (see `sweeps.remote`).

    Raises:
        PresynError: it cannot be written.
    """

    def __init__(self, root: Path, checkpoints: Any = None) -> None:
        code_version()  # of the code that was loaded, whatever is committed while it trains
        self.root = root
        self.results = root / "results"
        self.manifests = root / "manifests"
        self.checkpoints = root / "checkpoints" if checkpoints is None else checkpoints
        self.stages = root / "stages"
        try:
            self.results.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{os.getpid()}"
            probe.write_text("x")
            probe.unlink()
        except OSError as e:
            raise self._unwritable(e) from None

    @property
    def id(self) -> str:
        """What tells this store from others that write to the same MLflow; it stays when the store is moved."""
        path = self.root / "id"
        try:
            if path.exists() and not path.read_text().strip():  # left by a kill or a full disk
                path.unlink()
            if not path.exists():
                new = write_whole(path.with_name(f".id-{os.getpid()}"), uuid.uuid4().hex[:12])
                with suppress(FileExistsError):  # made by another process just now
                    os.link(new, path)
                new.unlink()
            return path.read_text().strip()
        except OSError as e:
            raise self._unwritable(e) from None

    def _unwritable(self, e: OSError) -> PresynError:
        return PresynError(
            f"The store {self.root} cannot be written ({e.strerror}). Free space or fix its permissions, or choose "
            "another with --store or PRESYN_STORE; then run the same command again: what is finished stays."
        )

    @contextmanager
    def locked(self, command: str, wait: bool = False) -> Iterator[None]:
        """Hold the store as its only writer.

        Raises:
            PresynError: another driver holds it (says which), unless asked to wait.
        """
        holder = self.root / "holder.json"
        lock = filelock.FileLock(self.root / "lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            who = _who(holder)
            if not wait:
                raise PresynError(
                    f"The store {self.root} is in use by {who}. Wait for it, or use --wait or another --store."
                ) from None
            print(f"presyn: waiting for {who}, who uses the store {self.root}.", file=sys.stderr)
            lock.acquire()
        try:
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            entry = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
            self.write(holder, json.dumps(entry))
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def write(self, path: Path, text: str) -> None:
        """Write a file of the store whole or not at all.

        Raises:
            PresynError: the disk is full or read-only.
        """
        try:
            write_whole(path, text)
        except OSError as e:
            raise self._unwritable(e) from None

    def get(self, run_id: str) -> Row | None:
        """The row of a run, or None; a damaged file counts as none, is set aside, and is said."""
        path = self.results / f"{run_id}.json"
        try:
            values = json.loads(path.read_text())
            row = Row.from_dict(values if isinstance(values, dict) else {})
            if not run_id == row.run_id == row.identity():
                raise ValueError("it is of another run, or its configuration was changed")
            return row
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as e:
            why = f" ({e})" if str(e).startswith("it") else ""
            set_aside(path, f" was damaged{why}", " and the run is trained again.")
            return None

    def put(self, run_id: str, run: Run, data_sha256: str, record: dict[str, Any], place: dict[str, Any]) -> Row:
        """Store the end of a run; returns its row."""
        return self.keep(Row.of(run_id, run, {**code_version(), **place, "data_sha256": data_sha256}, record))

    def keep(self, row: Row) -> Row:
        """Store a row."""
        self.write(self.results / f"{row.run_id}.json", json.dumps(row.as_dict(), indent=1))
        return row

    def set_aside(self, run_id: str) -> None:
        """Make a run count as not trained; its file stays, as <run id>.before."""
        path = self.results / f"{run_id}.json"
        if path.exists():
            path.replace(path.with_suffix(".before"))

    def ids(self) -> list[str]:
        """All runs in the store."""
        return sorted(p.stem for p in self.results.glob("*.json"))
