"""Checkpoints of runs: one file per run and part, so that runs go on in any packing.

Every driver session writes to a folder of its own, and reads from all: a left-over worker of a killed driver can only
write where nobody will look again.
"""

import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from presyn import PresynError

KEEP = 2  # parts kept for each run: members of a killed cohort may be one part apart


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints under a folder, written by one session.

    Attributes:
        folder: Shared by all nodes.
        session: The writing session's name.
    """

    folder: Path
    session: str

    def open(self) -> None:
        """Make this session's folder, by which workers know that they see the same files; what the driver does first."""
        (self.folder / self.session).mkdir(parents=True, exist_ok=True)

    def check_shared(self) -> None:
        """Raise a PresynError on a node that does not see the driver's store."""
        if not (self.folder / self.session).is_dir():
            raise PresynError(
                f"the store is not shared with this node: {self.folder / self.session} is not here. Put it on a file system "
                "that all nodes mount at the same path, with --store or PRESYN_STORE."
            )

    def save(self, run_id: str, saved: dict[str, Any]) -> None:
        """Write the state of a run after its latest part, atomically, and drop those older than the last but one."""
        mine = self.folder / self.session
        parts = len(saved["record"]["ended"])
        path = mine / f"{run_id}-{parts:05d}.pt"
        _write(path, saved)
        for old in sorted(mine.glob(f"{run_id}-*.pt"))[:-KEEP]:
            old.unlink(missing_ok=True)

    def keep(self, run_id: str, state: dict[str, torch.Tensor]) -> None:
        """Write the final state of a run beside the checkpoints, where it stays."""
        kept = self.kept(run_id)
        kept.parent.mkdir(parents=True, exist_ok=True)
        _write(kept, state)

    def kept(self, run_id: str) -> Path:
        """Where the final state of a run is kept."""
        return self.folder.parent / "states" / f"{run_id}.pt"

    def paths(self, run_id: str) -> list[Path]:
        """All checkpoints of a run by any session, latest part first."""
        return sorted(self.folder.glob(f"*/{run_id}-*.pt"), key=lambda p: p.name, reverse=True)

    def remove(self, run_id: str) -> None:
        """Delete all checkpoints of a run."""
        for path in self.paths(run_id):
            path.unlink(missing_ok=True)


def _write(path: Path, saved: dict[str, Any]) -> None:
    partial = path.with_suffix(f".partial-{os.getpid()}")
    buffer = io.BytesIO()  # torch's own writer hides why a write failed
    torch.save(saved, buffer)
    content = buffer.getbuffer()
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


def parts_of(path: Path) -> int:
    """How many parts a checkpoint has behind it."""
    return int(path.stem.rsplit("-", 1)[1])


def read(path: Path) -> dict[str, Any] | None:
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
