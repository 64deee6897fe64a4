"""Write a file whole or not at all."""

import contextlib
import errno
import io
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import filelock
import pandas as pd

from presyn import PresynError

Content: TypeAlias = Any
"""What a file can be made of: a frame becomes a CSV, text and bytes stay, anything with savefig becomes a picture."""


def write_whole(path: Path, content: Content) -> Path:
    """Write a table, a text, bytes or a figure, so that a reader sees the old file or the new one.

    Raises:
        OSError: the disk is full or the folder cannot be written; it names the file.
    """
    data = content_bytes(content, path)
    path = Path(os.path.realpath(path))  # a link stays one, and what it leads to is replaced
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        partial.replace(path)
    except OSError as e:
        partial.unlink(missing_ok=True)
        raise OSError(e.errno, e.strerror, str(path)) from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def refuse_unwritable(path: Path, option: str, is_file: bool = False) -> None:
    """Make the folder for results, or of a file of them, before long work.

    Args:
        path: The folder, or the file.
        option: How it was named, for the message.
        is_file: Whether it is a file.

    Raises:
        PresynError: nothing can be written there, and why.
    """
    try:
        if is_file and path.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = path.parent if is_file else path
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else str(e)
        raise PresynError(f"{path} cannot be read or written ({why}). Name another with {option}, or mend that.") from None


@contextlib.contextmanager
def lock_folder(folder: Path, files: Sequence[Path | None] = ()) -> Iterator[None]:
    """Hold a folder of results, or that of a single file elsewhere, as the only one who writes there.

    Raises:
        PresynError: another presyn holds it; two that write one folder would lose each other's rows.
    """
    folder = folder.resolve()
    single = [file.resolve() for file in files if file is not None]
    single = [file for file in single if not file.is_relative_to(folder)]
    paths = {file.with_name(f".{file.name}.lock") for file in single} or {folder / ".presyn.lock"}
    with contextlib.ExitStack() as locks:
        for path in sorted(paths):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = file_lock(path, timeout=0)
            except filelock.Timeout:
                raise PresynError(
                    f"{path.parent} is being written by another presyn. Wait for it, or write elsewhere with --results "
                    "(or --rows of presyn run)."
                ) from None
            except OSError as e:
                raise PresynError(f"{path.parent} cannot be written ({e.strerror}). Name another with --results.") from None
            locks.callback(lock.release)
            # While it is held: who has opened it already finds it gone, and opens it anew.
            locks.callback(path.unlink, missing_ok=True)
        yield


def file_lock(path: Path, timeout: float = -1) -> filelock.BaseFileLock:
    """A lock on a file, acquired; where the file system has no locks of its own, by the existence of the file.

    Raises:
        filelock.Timeout: another process holds it.
    """
    try:
        lock: filelock.BaseFileLock = filelock.FileLock(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on ENOSYS it falls back by itself, and says so
            lock.acquire(timeout=timeout)
    except (NotImplementedError, OSError) as e:
        if isinstance(e, OSError) and e.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK):
            raise
        lock = filelock.SoftFileLock(f"{path}.soft")
        lock.acquire(timeout=timeout)
    return lock


def content_bytes(content: Content, path: Path) -> bytes:
    """What is written to a file of this name for some content."""
    if isinstance(content, pd.DataFrame):
        return content.to_csv(index=False).encode()
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, bytes):
        return content
    buffer = io.BytesIO()
    metadata = {"Software": None} if path.suffix == ".png" else {"Date": None, "Creator": None}
    content.savefig(buffer, format=path.suffix[1:], metadata=metadata)
    return buffer.getvalue()
