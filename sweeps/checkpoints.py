"""Checkpoints: one file for each part of a cohort; its first line says which runs it holds, so they go on in any packing.

Every driver session writes to a folder of its own, and reads from all: a left-over worker of a killed driver can only
write where nobody will look again.
"""

import hashlib
import io
import json
import os
import socket
import uuid
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sweeps.cluster import NodeError
from sweeps.far import remove_folder

KEEP = 2  # files kept for each cohort: the latest may be damaged


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints under a folder, written by one session.

    Attributes:
        folder: Shared by all nodes; an address such as s3://bucket/folder where no folder is (see `far_folder`).
        session: The writing session's name.
    """

    folder: Any
    session: str

    def open(self) -> None:
        """Make this session's folder, by which workers know that they see the same files; what the driver does first."""
        (self.folder / self.session).mkdir(parents=True, exist_ok=True)

    def check_shared(self) -> None:
        """Raise a NodeError on a node that does not see the driver's store, or cannot write to it."""
        if not (self.folder / self.session).exists():
            raise NodeError(
                f"the store is not shared with this node: {self.folder / self.session} is not here. Put it on a file system "
                "that all nodes mount at the same path, with --store or PRESYN_STORE; or keep the checkpoints where all nodes "
                "reach them, with --checkpoints s3://…"
            )
        probe = self.folder / self.session / f".probe-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            probe.write_bytes(b"x")
            probe.unlink(missing_ok=True)
        except OSError as e:
            raise NodeError(f"the store {self.folder} cannot be written here ({why(e)}).") from None

    def save(self, saved: Mapping[str, dict[str, Any]], cohort: Sequence[str] | None = None) -> Any:
        """Write one file with the states of runs that train together, atomically, and drop the one before the last.

        Args:
            saved: Run id -> its record and state, all after the same number of parts; of a run that came to an end, no state.
            cohort: The runs that the cohort began with, which name its files; those saved, if it is not said.

        Raises:
            NodeError: the disk is full or the folder cannot be written.
        """
        name = hashlib.sha256("\n".join(sorted(cohort or saved)).encode()).hexdigest()[:16]
        parts = max(len(s["record"]["ended"]) for s in saved.values())
        path = self.folder / self.session / f"{name}-{parts:05d}.pt"
        self._write(path, json.dumps(sorted(saved)).encode() + b"\n", dict(saved))
        (self.folder / self.session / f"{name}-{parts - KEEP:05d}.pt").unlink(missing_ok=True)
        return path

    def keep(self, run_id: str, state: dict[str, torch.Tensor]) -> None:
        """Write the final state of a run beside the checkpoints, where it stays."""
        kept = self.kept(run_id)
        kept.parent.mkdir(parents=True, exist_ok=True)
        self._write(kept, b"", state)

    def _write(self, path: Any, head: bytes, saved: dict[str, Any]) -> None:
        try:
            _write(path, head, saved)
        except OSError as e:
            raise NodeError(
                f"a checkpoint cannot be written to {self.folder} ({why(e)}). Free space or fix its permissions, or choose "
                "another store with --store or PRESYN_STORE; then run the same command again: what is finished stays."
            ) from None

    def kept(self, run_id: str) -> Any:
        """Where the final state of a run is kept."""
        return self.folder.parent / "states" / f"{run_id}.pt"

    def index(self) -> dict[str, list[Any]]:
        """Run id -> all checkpoints that hold it, by any session, latest part first; of all runs, in one look."""
        found: dict[str, list[Any]] = defaultdict(list)
        for path in sorted(self.folder.glob("*/*.pt"), key=lambda p: p.name.rsplit("-", 1)[-1], reverse=True):
            for run_id in runs_in(path):
                found[run_id].append(path)
        return found

    def paths(self, run_id: str) -> list[Any]:
        """All checkpoints that hold a run, by any session, latest part first. It looks through the folder: `index` for many."""
        return self.index().get(run_id, [])

    def remove(self, *run_ids: str) -> None:
        """Forget these runs: a file of no others is deleted, also one that cannot be read; another is written without them."""
        gone = set(run_ids)
        for path in list(self.folder.glob("*/*.pt")):
            there = set(runs_in(path))
            if not there - gone:
                path.unlink(missing_ok=True)
            elif there & gone:
                forget()
                rest = {i: saved for i, saved in (read(path) or {}).items() if i not in gone}
                if rest:
                    self._write(path, json.dumps(sorted(rest)).encode() + b"\n", rest)
                else:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove this session's folder, and those of earlier sessions in which nothing is left."""
        for path in self.folder.glob("*"):
            if path.name == self.session or not any(p.name.endswith(".pt") for p in path.glob("*")):
                remove_folder(path)


def why(e: OSError) -> str:
    return e.strerror or str(e).splitlines()[0]


def _write(path: Any, head: bytes, saved: dict[str, Any]) -> None:
    buffer = io.BytesIO()  # torch's own writer hides why a write failed
    torch.save(saved, buffer)
    content = buffer.getbuffer()
    if not isinstance(path, Path):  # an object store writes whole objects
        path.write_bytes(head + bytes(content) + _sum(head, content))
        return
    partial = path.with_suffix(f".partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            for piece in (head, content, _sum(head, content) if head else b""):  # what is kept for people is torch's own
                file.write(piece)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


MARK = b"crc32:"


def _sum(head: Any, content: Any) -> bytes:
    """What stands at the end of a checkpoint: torch does not notice a bit that flipped among its numbers."""
    return MARK + b"%08x" % zlib.crc32(content, zlib.crc32(head))


def parts_of(path: Any) -> int:
    """How many parts a checkpoint has behind it."""
    return int(path.stem.rsplit("-", 1)[1])


def runs_in(path: Any) -> list[str]:
    """The runs that a checkpoint holds, by its first line; none if it is gone or damaged."""
    try:
        known = json.loads(_first_line(path))
    except (OSError, ValueError):
        return []
    return known if isinstance(known, list) and all(isinstance(i, str) for i in known) else []


def _first_line(path: Any) -> bytes:
    if not isinstance(path, Path):
        return path.read_head(HEAD).split(b"\n", 1)[0]
    with path.open("rb") as file:
        return file.readline(HEAD)


HEAD = 1 << 20  # bytes in which the first line ends


def read(path: Any) -> dict[str, dict[str, Any]] | None:
    """Run id -> what was saved of it, or None if the file is gone or damaged (then an older one will do)."""
    try:
        stamp = path.stat().st_mtime_ns if isinstance(path, Path) else 0
    except OSError:
        return None
    key = (str(path), stamp)
    if key not in _recent:
        if len(_recent) > 1:
            _recent.pop(next(iter(_recent)))
        _recent[key] = _read(path)
    return _recent[key]


_recent: dict[tuple[str, int], dict[str, dict[str, Any]] | None] = {}
"""What was read last: the members of a cohort are read one after the other from one file."""


def _read(path: Any) -> dict[str, dict[str, Any]] | None:
    try:
        content = path.read_bytes()
        end = len(content) - len(MARK) - 8
        start = content.index(b"\n") + 1
        if content[end:] != _sum(b"", memoryview(content)[:end]):
            return None
        saved = torch.load(io.BytesIO(content[start:end]), weights_only=True)
        ids = json.loads(content[:start])
    except Exception:  # a flipped bit can be any error at all in an unpickler
        return None
    whole = isinstance(saved, dict) and sorted(saved) == ids and all(_whole(s, parts_of(path)) for s in saved.values())
    return saved if whole else None


def forget() -> None:
    """Let go of the files that were read last."""
    _recent.clear()


def _whole(saved: Any, parts: int) -> bool:
    """Whether this is what `save` wrote of a run after so many parts, or at its end before."""
    if not isinstance(saved, dict) or saved.keys() != {"record", "state"} or not isinstance(saved["record"], dict):
        return False
    record, state = saved["record"], saved["state"]
    if not isinstance(record.get("ended"), list) or "status" not in record:
        return False
    if state is None:
        return len(record["ended"]) <= parts
    return (
        len(record["ended"]) == parts and isinstance(state, dict) and all(isinstance(t, torch.Tensor) for t in state.values())
    )
