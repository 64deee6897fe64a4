"""The file of a checkpoint: a first line with the runs that it holds, what torch saves, and a sum over both."""

import io
import json
import os
import zlib
from pathlib import Path
from typing import Any

import torch


def write(path: Any, head: bytes, saved: dict[str, Any]) -> None:
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
    """The runs that a checkpoint holds, by its first line; none if it is gone or damaged, or cannot be read just now."""
    try:
        return ids_in(first_line(path))
    except OSError:
        return []


def ids_in(line: bytes) -> list[str]:
    """The run ids in a first line; none if it is damaged."""
    try:
        known = json.loads(line)
    except ValueError:
        return []
    return known if isinstance(known, list) and all(isinstance(i, str) for i in known) else []


def first_line(path: Any) -> bytes:
    if not isinstance(path, Path):
        return path.read_head(HEAD).split(b"\n", 1)[0]
    with path.open("rb") as file:
        return file.readline(HEAD)


HEAD = 1 << 20  # bytes in which the first line ends


def read(path: Any) -> dict[str, dict[str, Any]] | None:
    """Run id -> what was saved of it, or None if the file is gone or damaged (then an older one will do)."""
    try:
        key = (str(path), path.stat().st_mtime_ns if isinstance(path, Path) else 0)
        if key in _recent:
            return _recent[key]
        saved = parsed(path.read_bytes(), parts_of(path))
    except (OSError, MemoryError):
        return None
    if saved is not None:
        if len(_recent) > 1:
            _recent.pop(next(iter(_recent)))
        _recent[key] = saved
    return saved


_recent: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
"""What was read last: the members of a cohort are read one after the other from one file."""


def parsed(content: bytes, parts: int) -> dict[str, dict[str, Any]] | None:
    """What is in a checkpoint after so many parts; None if it is damaged."""
    try:
        end = len(content) - len(MARK) - 8
        start = content.index(b"\n") + 1
        if content[end:] != _sum(b"", memoryview(content)[:end]):
            return None
        saved = torch.load(io.BytesIO(content[start:end]), weights_only=True)
        ids = json.loads(content[:start])
    except MemoryError:
        raise
    except Exception:  # a flipped bit can be any error at all in an unpickler
        return None
    whole = isinstance(saved, dict) and sorted(saved) == ids and all(_whole(s, parts) for s in saved.values())
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
