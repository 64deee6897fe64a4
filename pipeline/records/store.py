"""The result store: one small file per run, written atomically by the one driver that holds the lock.

It is the source of truth; MLflow and the tables are made from it.
"""

import inspect
import json
import os
import platform
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import filelock

from pipeline.records.files import file_lock, write_whole
from pipeline.records.row import Row
from presyn import RULES_VERSION, PresynError, Run
from presyn.code_digest import digest_method
from presyn.methods import method_class
from sweeps.checkpoints import STORE_FOLDER, Checkpoints
from sweeps.files import set_aside


@cache
def code_version() -> dict[str, Any]:
    """Commit and cleanliness of the code, and the versions it runs with, as they were when this process started."""

    folder = Path(__file__).parents[2]
    is_checkout = (folder / ".git").exists()  # a wheel may lie in somebody else's repository

    def git(*arguments: str) -> str | None:
        """What git prints; None if it does not answer."""
        if not is_checkout:
            return None
        try:
            answer = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", errors="replace", timeout=20
            )
            return answer.stdout.strip() if answer.returncode == 0 else None
        except (OSError, subprocess.SubprocessError):
            return None

    import numpy
    import torch

    changes = git("status", "--porcelain", "--untracked-files=normal", "--", "presyn", "sweeps", "pipeline")
    commit = git("rev-parse", "HEAD")
    return {
        "git_commit": commit or os.environ.get("PRESYN_COMMIT") or "unknown",
        # Where nobody can say that the code is that of the commit, it counts as changed.
        "git_dirty": changes != "" if is_checkout else "PRESYN_COMMIT" not in os.environ,
        "rules_version": RULES_VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


@dataclass(frozen=True)
class Holder:
    """The command that holds a store.

    Attributes:
        command: As it was given.
        pid, host: Its process, and where that is.
        since: Unix time at which it began, by the clock of its host.
    """

    command: str
    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"'{self.command}' (process {self.pid} on {self.host}, since {began})"


def _users_files(run: Run) -> dict[str, str]:
    """The user's own files that a run needs: those of its images, and the one that has its method."""
    files = {} if run.benchmark.source is None else {"source": str(Path(run.benchmark.source).absolute())}
    kind = method_class(run.method)
    return files if kind.__module__.startswith("presyn.") else {**files, "method_file": inspect.getfile(kind)}


def _put_if_absent(new: Path, path: Path) -> None:
    """Give a new file its name, unless another process has just made one of that name."""
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except (OSError, AttributeError, NotImplementedError):  # a file system or a Python without hard links
        if not path.exists():
            new.replace(path)
            return
    new.unlink()


class Store:
    """Results, manifests and checkpoints in a folder.

    Args:
        root: The folder; made if missing.
        checkpoints: Another folder for them, such as one that is no path (see `sweeps.remote`).
        write: Whether it is written to, and not only looked at, as somebody else's may be.

    Raises:
        PresynError: it cannot be written.
    """

    def __init__(self, root: Path, checkpoints: Any = None, write: bool = True) -> None:
        code_version()  # of the code that was loaded, whatever is committed while it trains
        self.root = root
        self.results = root / "results"
        self.manifests = root / "manifests"
        self.checkpoints = root / STORE_FOLDER if checkpoints is None else checkpoints
        self.stages = root / "stages"
        if not write:
            return
        try:
            self.results.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{os.getpid()}"
            probe.write_text("x", encoding="utf-8")
            probe.unlink()
        except OSError as e:
            raise self._unwritable(e) from None

    @property
    def id(self) -> str:
        """What tells this store from others that write to the same MLflow; it stays when the store is moved."""
        path = self.root / "id"
        try:
            if path.exists() and not path.read_text(encoding="utf-8").strip():  # left by a kill or a full disk
                path.unlink()
            if not path.exists():
                new = write_whole(path.with_name(f".id-{os.getpid()}"), uuid.uuid4().hex[:12])
                _put_if_absent(new, path)
            return path.read_text(encoding="utf-8").strip()
        except OSError as e:
            raise self._unwritable(e) from None

    def session_checkpoints(self, session: str = "") -> Checkpoints:
        """The checkpoints of this store's runs, for a session that writes some or none."""
        is_own_folder = self.checkpoints == self.root / STORE_FOLDER
        return Checkpoints(self.checkpoints, session, "" if is_own_folder else self.id)

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
        path = self.root / "lock"
        try:
            lock = file_lock(path, timeout=0)
        except filelock.Timeout:
            holding_command = self.holder() or "another presyn"
            if not wait:
                raise PresynError(
                    f"The store {self.root} is in use by {holding_command}. Wait for it, or use --wait or another --store."
                ) from None
            print(f"presyn: waiting for {holding_command}, who uses the store {self.root}.", file=sys.stderr)
            lock = file_lock(path)
        try:
            entry = Holder(command, os.getpid(), socket.gethostname(), time.time())
            self.write(self._holder_file, json.dumps(asdict(entry)))
            yield
        finally:
            self._holder_file.unlink(missing_ok=True)
            lock.release()

    @property
    def _holder_file(self) -> Path:
        return self.root / "holder.json"

    def holder(self) -> Holder | None:
        """The command that says it holds the store, which may have been killed since; None without one that can be read."""
        try:
            holder = Holder(**json.loads(self._holder_file.read_text(encoding="utf-8")))
            return holder if isinstance(holder.since, float) else None
        except (OSError, ValueError, TypeError):
            return None

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
            values = json.loads(path.read_text(encoding="utf-8"))
            row = Row.from_dict(values if isinstance(values, dict) else {})
            if not run_id == row.run_id == row.identity():
                raise ValueError("it is of another run, or its configuration was changed")
            return row
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as e:
            why = f" ({e})" if str(e).startswith("it") else ""
            try:
                set_aside(path, f" was damaged{why}", " and the run is trained again.")
            except OSError:  # a store that is only looked at may be one that cannot be written
                print(f"presyn: {path.name} was damaged{why}; it counts as no run.", file=sys.stderr)
            return None

    def put(self, run_id: str, run: Run, data_sha256: str, record: dict[str, Any], place: dict[str, Any]) -> Row:
        """Store the end of a run; returns its row."""
        provenance = {**code_version(), **place, "data_sha256": data_sha256, "code": digest_method(run.method)}
        provenance |= _users_files(run)
        return self.keep(Row.from_run(run_id, run, provenance, record))

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
