"""Checkpoints: one file for each part of a cohort; its first line says which runs it holds, so they go on in any packing.

Every driver session writes to a folder of its own, and reads from all: a left-over worker of a killed driver can only
write where nobody will look again.
"""

import hashlib
import json
import os
import socket
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sweeps.checkpoint_files import first_line, forget, ids_in, parsed, parts_of, runs_in, write
from sweeps.cluster import NodeError
from sweeps.remote import remove_folder

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
            write(path, head, saved)
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
        """Forget these runs: a file of no others is deleted, also one that is damaged; another is written without them.

        A file that cannot be read just now, as while a disk or a bucket does not answer, stays.
        """
        gone = set(run_ids)
        for path in list(self.folder.glob("*/*.pt")):
            try:
                there = set(ids_in(first_line(path)))
                if not there - gone:
                    path.unlink(missing_ok=True)
                elif there & gone:
                    self._without(path, gone)
            except (OSError, MemoryError):
                continue

    def _without(self, path: Any, gone: set[str]) -> None:
        saved = parsed(path.read_bytes(), parts_of(path))
        forget()
        rest = {i: s for i, s in (saved or {}).items() if i not in gone}
        for s in rest.values():
            if s["state"] is not None:  # of its own: views would keep what is removed
                s["state"] = {name: values.clone() for name, values in s["state"].items()}
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
