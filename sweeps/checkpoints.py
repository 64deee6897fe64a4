"""Checkpoints of runs: one file per run and part, so that runs go on in any packing.

Every driver session writes to a folder of its own, and reads from all: a left-over worker of a killed driver can only
write where nobody will look again.
"""

import io
import os
import socket
import uuid
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sweeps.cluster import NodeError
from sweeps.far import remove_folder

KEEP = 2  # parts kept for each run: members of a killed cohort may be one part apart


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

    def path(self, run_id: str, parts: int) -> Any:
        """Where this session keeps a run after so many parts."""
        return self.folder / self.session / f"{run_id}-{parts:05d}.pt"

    def save(self, run_id: str, saved: dict[str, Any]) -> None:
        """Write the state of a run after its latest part, atomically, and drop those older than the last but one.

        Raises:
            NodeError: the disk is full or the folder cannot be written.
        """
        parts = len(saved["record"]["ended"])
        self._write(self.path(run_id, parts), saved)
        self.path(run_id, parts - KEEP).unlink(missing_ok=True)

    def keep(self, run_id: str, state: dict[str, torch.Tensor]) -> None:
        """Write the final state of a run beside the checkpoints, where it stays."""
        kept = self.kept(run_id)
        kept.parent.mkdir(parents=True, exist_ok=True)
        self._write(kept, state)

    def _write(self, path: Any, saved: dict[str, Any]) -> None:
        try:
            _write(path, saved)
        except OSError as e:
            raise NodeError(
                f"a checkpoint cannot be written to {self.folder} ({why(e)}). Free space or fix its permissions, or choose "
                "another store with --store or PRESYN_STORE; then run the same command again: what is finished stays."
            ) from None

    def kept(self, run_id: str) -> Any:
        """Where the final state of a run is kept."""
        return self.folder.parent / "states" / f"{run_id}.pt"

    def index(self) -> dict[str, list[Any]]:
        """Run id -> all its checkpoints by any session, latest part first; of all runs, in one look."""
        found: dict[str, list[Any]] = defaultdict(list)
        for path in self.folder.glob("*/*.pt"):
            found[path.stem.rsplit("-", 1)[0]].append(path)
        return {run_id: sorted(paths, key=lambda p: p.name, reverse=True) for run_id, paths in found.items()}

    def paths(self, run_id: str) -> list[Any]:
        """All checkpoints of a run by any session, latest part first. It looks through the folder: `index` for many runs."""
        return sorted(self.folder.glob(f"*/{run_id}-*.pt"), key=lambda p: p.name, reverse=True)

    def remove(self, *run_ids: str) -> None:
        """Delete all checkpoints of these runs."""
        found = self.index()
        for run_id in run_ids:
            for path in found.get(run_id, ()):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove this session's folder, and those of earlier sessions in which nothing is left."""
        for path in self.folder.glob("*"):
            if path.name == self.session or not any(p.name.endswith(".pt") for p in path.glob("*")):
                remove_folder(path)


def why(e: OSError) -> str:
    return e.strerror or str(e).splitlines()[0]


def _write(path: Any, saved: dict[str, Any]) -> None:
    buffer = io.BytesIO()  # torch's own writer hides why a write failed
    torch.save(saved, buffer)
    content = buffer.getbuffer()
    if not isinstance(path, Path):  # an object store writes whole objects
        path.write_bytes(bytes(content) + _sum(content))
        return
    partial = path.with_suffix(f".partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.write(_sum(content))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


MARK = b"crc32:"


def _sum(content: Any) -> bytes:
    """What stands at the end of a checkpoint: torch does not notice a bit that flipped among its numbers."""
    return MARK + b"%08x" % zlib.crc32(content)


def parts_of(path: Any) -> int:
    """How many parts a checkpoint has behind it."""
    return int(path.stem.rsplit("-", 1)[1])


def read(path: Any) -> dict[str, Any] | None:
    """The saved state, or None if the file is gone or damaged (then an older one will do)."""
    try:
        content = path.read_bytes()
        end = len(content) - len(MARK) - 8
        if content[end:].startswith(MARK):  # earlier ones have no sum
            if content[end:] != _sum(memoryview(content)[:end]):
                return None
            content = content[:end]
        saved = torch.load(io.BytesIO(content), weights_only=True)
    except Exception:  # a flipped bit can be any error at all in an unpickler
        return None
    return saved if _whole(saved, parts_of(path)) else None


def _whole(saved: Any, parts: int) -> bool:
    """Whether this is what `save` wrote after so many parts."""
    if not isinstance(saved, dict) or saved.keys() != {"record", "state"} or not isinstance(saved["record"], dict):
        return False
    record, state = saved["record"], saved["state"]
    if not isinstance(record.get("ended"), list) or len(record["ended"]) != parts or "status" not in record:
        return False
    return state is None or isinstance(state, dict) and all(isinstance(t, torch.Tensor) for t in state.values())
