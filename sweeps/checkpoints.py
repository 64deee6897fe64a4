"""Checkpoints: one file for each segment of a cohort; its first line says which runs it holds, so they go on in any packing.

Every driver session writes to a folder of its own, and reads from all of its store: a left-over worker of a killed driver can
only write where nobody will look again. Where several stores share a folder of checkpoints, the names of their sessions begin
with that of the store, and what belongs to another store is neither read nor removed.
"""

import hashlib
import io
import json
import os
import re
import socket
import sys
import uuid
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from presyn import Record
from sweeps.cluster import NodeError
from sweeps.remote import remove_folder

FILES_KEPT = 2  # of each cohort: the latest file may be damaged
STATES = "states"
"""The folder of the final states that runs are asked to keep."""
STORE_FOLDER = "checkpoints"
"""How the folder of checkpoints is called in a store, which has a folder of states beside it."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints under a folder, written by one session.

    Attributes:
        folder: Shared by all nodes: a path, or a `RemotePath` such as s3://bucket/folder where no folder is shared.
        session: The writing session's name.
        store: What tells the store from others that share the folder; empty where it is the store's own.
        paused: Ids of runs whose state stays in a checkpoint at their end, because longer runs may go on from there.
    """

    folder: Any
    session: str
    store: str = ""
    paused: frozenset[str] = frozenset()

    @property
    def home(self) -> Any:
        """The folder of this session."""
        return self.folder / self._folder_name(self.session)

    def _folder_name(self, session: str) -> str:
        return f"{self.store}.{session}" if self.store else session

    def _is_own(self, folder: Any) -> bool:
        """Whether a folder under that of the checkpoints is one of a session of this store."""
        if folder.name == STATES or not folder.name.startswith(self._folder_name("")):
            return False
        return bool(self.store) or not _OF_OTHER_STORE.match(folder.name)

    def open(self) -> None:
        """Make this session's folder, by which workers know that they see the same files; what the driver does first."""
        (self.home).mkdir(parents=True, exist_ok=True)

    def check_shared(self) -> None:
        """Raise a NodeError on a node that does not see the driver's store, or cannot write to it."""
        if not (self.home).exists():
            raise NodeError(
                f"the store is not shared with this node: {self.home} is not here. Put it on a file system "
                "that all nodes mount at the same path, with --store or PRESYN_STORE; or keep the checkpoints where all nodes "
                "reach them, with --checkpoints s3://…"
            )
        probe = self.home / f".probe-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            probe.write_bytes(b"x")
            probe.unlink(missing_ok=True)
        except OSError as e:
            raise NodeError(f"the store {self.folder} cannot be written here ({_reason(e)}).") from None

    def save(self, saved: Mapping[str, dict[str, Any]], cohort: Sequence[str] | None = None) -> Any:
        """Write one file with the states of runs that train together, atomically, and drop the one before the last.

        Args:
            saved: Run id -> its record and state, all after the same number of segments; no state of a run that came to an end,
                unless it is paused.
            cohort: The runs that the cohort began with, which name its files; by default those that are saved.

        Raises:
            NodeError: the disk is full or the folder cannot be written.
        """
        name = hashlib.sha256("\n".join(sorted(cohort or saved)).encode()).hexdigest()[:16]
        segments = max(len(s["record"]["ended"]) for s in saved.values())
        path = self.home / f"{name}-{segments:05d}.pt"
        self._write(path, _first_line(saved), dict(saved))
        (self.home / f"{name}-{segments - FILES_KEPT:05d}.pt").unlink(missing_ok=True)
        return path

    def keep(self, run_id: str, state: dict[str, torch.Tensor]) -> None:
        """Write the final state of a run to a file that stays when the checkpoints go, as `torch.save` writes it."""
        path = self.state_path(run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write(path, b"", state)

    def state_path(self, run_id: str) -> Any:
        """Where the final state of a run is kept: in the store beside its folder of checkpoints; in a folder that stores share,
        inside it, by the name of the store."""
        if self.store:
            return self.folder / STATES / self.store / f"{run_id}.pt"
        home = self.folder.parent if self.folder.name == STORE_FOLDER else self.folder
        return home / STATES / f"{run_id}.pt"

    def _earlier_state_paths(self, run_id: str) -> list[Any]:
        """Where earlier versions kept the final state of a run in a folder that several stores share."""
        homes = [self.folder.parent, self.folder] if self.folder.name == STORE_FOLDER else [self.folder]
        beside = [home / STATES / self.store / f"{run_id}.pt" for home in homes[:-1]]
        return [*beside, *(home / STATES / f"{run_id}.pt" for home in homes)] if self.store else []

    def kept_state(self, run_id: str) -> dict[str, torch.Tensor] | None:
        """The final state that was kept of a run; None if there is none, or if it is damaged, which is said."""
        path = self.state_path(run_id)
        if not path.exists():
            path = next((earlier for earlier in self._earlier_state_paths(run_id) if earlier.exists()), path)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise NodeError(f"The kept state {path} cannot be read ({_reason(e)}).") from None
        state = parse_state(content)
        if state is None:
            print(f"presyn: the kept state {path} is damaged, and counts as none.", file=sys.stderr)
        return state

    def _write(self, path: Any, first_line: bytes, saved: dict[str, Any]) -> None:
        try:
            write_file(path, first_line, saved)
        except OSError as e:
            raise NodeError(
                f"a checkpoint cannot be written to {self.folder} ({_reason(e)}). Free space or fix its permissions, or choose "
                "another store with --store or PRESYN_STORE; then run the same command again: what is finished stays."
            ) from None

    def _files(self) -> Iterator[Any]:
        """The checkpoints of all sessions of this store; kept states are none, nor is what is no file or has another name."""
        for path in self.folder.glob("*/*.pt"):
            regular = not isinstance(path, Path) or path.is_file()
            if self._is_own(path.parent) and _NAME.fullmatch(path.name) and regular:
                yield path

    def index(self) -> dict[str, list[Any]]:
        """Run id -> all checkpoints that hold it, by any session, latest segment first; of all runs, in one look."""
        paths_by_run: dict[str, list[Any]] = defaultdict(list)
        for path in sorted(self._files(), key=lambda p: p.name.rsplit("-", 1)[-1], reverse=True):
            for run_id in read_run_ids(path):
                paths_by_run[run_id].append(path)
        return paths_by_run

    def paths(self, run_id: str) -> list[Any]:
        """All checkpoints that hold a run, by any session, latest segment first; for many runs `index` is faster."""
        return self.index().get(run_id, [])

    def remove(self, *run_ids: str) -> None:
        """Remove these runs from all checkpoints: a file of no others is deleted, another is written again without them.

        A damaged file is deleted as well. One that cannot be read just now, as while a disk does not answer, stays.
        """
        removed = set(run_ids)
        for path in list(self._files()):
            try:
                held = set(parse_run_ids(read_first_line(path)))
                if not held - removed:
                    path.unlink(missing_ok=True)
                elif held & removed:
                    self._write_without(path, removed)
            except (OSError, MemoryError):
                continue

    def _write_without(self, path: Any, removed: set[str]) -> None:
        """Write a checkpoint again without some of its runs."""
        saved = parse_file(path.read_bytes(), segments_in_name(path))
        forget_files()
        rest = {run_id: s for run_id, s in (saved or {}).items() if run_id not in removed}
        for s in rest.values():
            if s["state"] is not None:  # copies, because views of one tensor would save what is removed as well
                s["state"] = {name: values.clone() for name, values in s["state"].items()}
        if rest:
            self._write(path, _first_line(rest), rest)
        else:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove this session's folder, and those of earlier sessions in which nothing is left.

        Kept states stay, and the states of paused runs.
        """
        for path in self.folder.glob("*"):
            is_done = path == self.home and not self.paused
            if self._is_own(path) and (is_done or not any(p.name.endswith(".pt") for p in path.glob("*"))):
                remove_folder(path)


def _reason(e: OSError) -> str:
    return e.strerror or str(e).splitlines()[0]


# The file of a checkpoint: a first line with the ids of its runs as JSON and a checksum of them, what torch saves of the runs,
# and a checksum of all, because torch does not notice a bit that flipped among its numbers.

CHECKSUM_MARK = b"crc32:"
CHECKSUM_LENGTH = len(CHECKSUM_MARK) + 8
MOST_FIRST_LINE = 1 << 20  # bytes in which the first line ends
_OF_OTHER_STORE = re.compile(r"[0-9a-f]{12}\.")  # how the folders of stores begin that share one
_NAME = re.compile(r"[0-9a-f]{16}-\d{5,9}\.pt")


def _first_line(saved: Mapping[str, Any]) -> bytes:
    run_ids = json.dumps(sorted(saved)).encode()
    return run_ids + b" " + _checksum(run_ids) + b"\n"


def _checksum(*pieces: Any) -> bytes:
    """What stands behind some pieces of a checkpoint."""
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    return CHECKSUM_MARK + b"%08x" % total


def write_file(path: Any, first_line: bytes, saved: dict[str, Any]) -> None:
    """Write a checkpoint; or, without a first line, a file for people: torch's own, a zip file with its checksum as comment."""
    buffer = io.BytesIO()  # torch's own writer hides why a write failed
    torch.save(saved, buffer)
    content = buffer.getbuffer()
    if not first_line:
        content[-2:] = CHECKSUM_LENGTH.to_bytes(2, "little")  # how long the zip file's comment is
    pieces = (first_line, content, _checksum(first_line, content))
    if not isinstance(path, Path):  # an object store writes whole objects
        path.write_bytes(b"".join(pieces))
        return
    partial = path.with_suffix(f".partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def segments_in_name(path: Any) -> int:
    """How many segments a checkpoint has behind it, by its name."""
    return int(path.stem.rsplit("-", 1)[1])


def read_run_ids(path: Any) -> list[str]:
    """The ids of the runs that a checkpoint holds; none if it is gone or damaged, or cannot be read just now."""
    try:
        return parse_run_ids(read_first_line(path))
    except OSError:
        return []


def parse_run_ids(first_line: bytes) -> list[str]:
    """The run ids in the first line of a checkpoint; none if it is damaged. One of an earlier version has no checksum."""
    line = first_line.removesuffix(b"\n")
    if CHECKSUM_MARK in line:
        line, end = line[: -CHECKSUM_LENGTH - 1], line[-CHECKSUM_LENGTH:]
        if end != _checksum(line):
            return []
    try:
        run_ids = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return run_ids if isinstance(run_ids, list) and all(isinstance(i, str) for i in run_ids) else []


def read_first_line(path: Any) -> bytes:
    """The first line of a checkpoint, without reading the rest."""
    if not isinstance(path, Path):
        return path.read_head(MOST_FIRST_LINE).split(b"\n", 1)[0]
    with path.open("rb") as file:
        return file.readline(MOST_FIRST_LINE)


_recent_files: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
"""The two files that were read last: the members of a cohort are read one after the other from one file."""


def read_file(path: Any) -> dict[str, dict[str, Any]] | None:
    """Run id -> what was saved of it, or None if the file is gone or damaged (then an older one will do)."""
    try:
        key = (str(path), path.stat().st_mtime_ns if isinstance(path, Path) else 0)
        if key in _recent_files:
            return _recent_files[key]
        saved = parse_file(path.read_bytes(), segments_in_name(path))
    except (OSError, MemoryError):
        return None
    if saved is not None:
        if len(_recent_files) > 1:
            _recent_files.pop(next(iter(_recent_files)))
        _recent_files[key] = saved
    return saved


def forget_files() -> None:
    """Let go of the files that were read last."""
    _recent_files.clear()


def parse_file(content: bytes, segments: int) -> dict[str, dict[str, Any]] | None:
    """Run id -> what was saved of it, from the content of a checkpoint after so many segments; None if it is damaged."""
    try:
        end = len(content) - CHECKSUM_LENGTH
        start = content.index(b"\n") + 1
        if content[end:] != _checksum(memoryview(content)[:end]):
            return None
        run_ids = parse_run_ids(content[:start])
        packed = io.BytesIO(content[start:end])
        _refuse_packed(packed)
        saved = torch.load(packed, weights_only=True)
    except MemoryError:
        raise
    except Exception:  # a flipped bit can be any error at all in an unpickler
        return None
    whole = isinstance(saved, dict) and sorted(saved) == run_ids and all(_is_whole(s, segments) for s in saved.values())
    return saved if whole else None


def parse_state(content: bytes) -> dict[str, torch.Tensor] | None:
    """The tensors of a kept state; None if it is damaged. One of an earlier version has checksums of its tensors alone."""
    try:
        if CHECKSUM_MARK in content[-CHECKSUM_LENGTH:] and content[-CHECKSUM_LENGTH:] != _checksum(content[:-CHECKSUM_LENGTH]):
            return None
        packed = io.BytesIO(content)
        _refuse_packed(packed)
        with zipfile.ZipFile(packed) as archive:
            if archive.testzip() is not None:
                return None
        packed.seek(0)
        state = torch.load(packed, weights_only=True)
    except MemoryError:
        raise
    except Exception:  # a flipped bit can be any error at all in an unpickler
        return None
    whole = isinstance(state, dict) and state and all(_is_tensor(values) for values in state.values())
    return state if whole else None


def _refuse_packed(file: io.BytesIO) -> None:
    """Raise a ValueError for a file whose content is larger than it, as torch writes none: reading it might take all memory."""
    size = len(file.getbuffer())
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > size:
            raise ValueError("it is packed")
    file.seek(0)


def _is_whole(saved: Any, segments: int) -> bool:
    """Whether this is what `save` wrote of a run: after so many segments, or at its end, which may have come earlier."""
    if (
        not isinstance(saved, dict)
        or saved.keys() - {"run", "where"} != {"record", "state"}
        or not isinstance(saved["record"], dict)
    ):
        return False
    try:
        record = Record.from_dict(saved["record"])
        record.check()
    except (ValueError, TypeError):
        return False
    if saved["state"] is None:
        return record.segments <= segments and record.status != "training"
    return record.segments == segments and isinstance(saved["state"], dict) and all(map(_is_tensor, saved["state"].values()))


def _is_tensor(values: Any) -> bool:
    """Whether this is a tensor that has as many numbers as it says, rather than one number many times."""
    return isinstance(values, torch.Tensor) and values.layout == torch.strided and values.is_contiguous()
