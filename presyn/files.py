"""Read files of users: regular ones alone, by their headers first, and never more of them than a header says."""

import ctypes
import gzip
import io
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from presyn.errors import PresynError

GZIP = b"\x1f\x8b"
CHUNK = 1 << 20
"""Bytes that are read at once, so that a wrong header takes no memory."""
MOST_PACKED = 50
"""How many times its own size a file of images may unpack to; MNIST's unpacks to five times its size, a bomb to hundreds."""
UNKNOWN_MEMORY = 1 << 44
"""Bytes that stand for those of a machine that does not tell."""
ALWAYS_ALLOWED = 1 << 26
"""Bytes to which any file may unpack."""


def expand_home(path: str | os.PathLike) -> Path:
    """A path, with ~ as the home folder that it stands for.

    Raises:
        PresynError: it is no path, or there is no such home.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or "\0" in os.fspath(path):
        raise PresynError(f"{path!r} is not a path: give the name of a file or folder as text, without null characters.")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise PresynError(f"{path} begins with the home folder of a user who has none here. Write the folder out.") from None


def machine_memory() -> int:
    """Bytes of memory of this machine; where nobody can say, more than any has."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, others not these names
        return _memory_by_windows() or UNKNOWN_MEMORY


def _memory_by_windows() -> int:
    """What Windows says of the memory of this machine; 0 elsewhere."""
    windll = getattr(ctypes, "windll", None)
    if windll is None:
        return 0
    status = (ctypes.c_ulonglong * 8)()  # MEMORYSTATUSEX: its size and the load, 4 bytes each, and then the memory in bytes
    status[0] = ctypes.sizeof(status)
    return int(status[1]) if windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else 0


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """A regular file, open for reading.

    Raises:
        PresynError: it is something else, such as a folder, a pipe or a device, or cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise PresynError(f"{path} is {_describe_mode(mode)}, not a file: name a file.")
        file = path.open("rb")
    except OSError as e:
        raise PresynError(f"{path} cannot be read: {e.strerror}.") from None
    except ValueError:
        raise PresynError(f"{str(path)!r} is not a path: it has a null character in it.") from None
    with file:
        yield file


def _describe_mode(mode: int) -> str:
    """What something that is no regular file is."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_file(path: Path, most: int) -> bytes:
    """The content of a file, unpacked if it is gzip, whatever its name.

    Args:
        path: The file.
        most: Bytes that it may hold.

    Raises:
        PresynError: it cannot be read, holds more, or is no whole gzip file.
    """
    with open_unpacked(path) as file:
        content = file.read(most + 1) if path.stat().st_size <= most else b""
        if len(content) > most or path.stat().st_size > most:
            raise PresynError(
                f"{path} holds more than the {most:,} bytes that it may hold: it is not the file that it should be."
            )
        return content


@contextmanager
def open_unpacked(path: Path) -> Iterator[IO[bytes]]:
    """A regular file, open for reading, unpacked while it is read if it is gzip, whatever its name.

    Raises:
        PresynError: it cannot be read, also while it is read in this context, or is no whole gzip file.
    """
    with open_regular(path) as file:
        try:
            packed = file.read(2) == GZIP or path.suffix == ".gz"
            file.seek(0)
            yield io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
        except (EOFError, gzip.BadGzipFile, zlib.error) as e:
            raise PresynError(f"{path} is corrupt: {e}. Delete it and fetch it again.") from None
        except OSError as e:
            raise PresynError(f"{path} cannot be read: {e.strerror or e}.") from None
        except MemoryError:
            raise PresynError(f"{path} does not fit into the memory that is free.") from None


def read_values(file: IO[bytes], path: Path, what: str, size: int) -> bytearray:
    """The bytes that a header says follow, read piece by piece, so that a header that lies takes no memory.

    Args:
        file: Open behind the header.
        path: The file, for messages and for its size on the disk.
        what: What the header says, such as 60000 × 28 × 28.
        size: Bytes that it says.

    Raises:
        PresynError: it says more than a file of that size can hold, or than this machine could work with; or more or fewer
            bytes follow.
    """
    on_disk = path.stat().st_size
    if size > machine_memory() // 4:
        raise PresynError(
            f"{path}: its header says {what}, {size / 2**30:,.1f} GiB, more than a quarter of this machine's memory."
        )
    if size > max(ALWAYS_ALLOWED, MOST_PACKED * on_disk):
        raise PresynError(
            f"{path}: its header says {what}, {size:,} bytes, far more than images in {on_disk:,} bytes can hold. "
            "If they are right, store them as uint8, or with np.savez, which does not compress."
        )
    content = bytearray()
    while len(content) < size and (piece := file.read(min(CHUNK, size - len(content)))):
        content += piece
    if len(content) < size:
        raise PresynError(f"{path} holds {len(content)} bytes, but its header says {what}.")
    if file.read(1):
        raise PresynError(f"{path} holds more bytes than its header says, {what}.")
    return content


def read_npz(path: Path, choices: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Arrays in an .npz file.

    Args:
        path: The file.
        choices: Lists of names, of which the first is read whose arrays are all there.

    Raises:
        PresynError: it is no such file, is damaged, or lacks them.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
                names = next((n for n in choices if set(n) <= set(entries)), None)
                if names is None:
                    holds = ", ".join(list(entries)[:10]) or "nothing"
                    raise PresynError(f"{path} must hold the arrays {', '.join(choices[0])}, but holds {holds}.")
                arrays = []
                for name in names:
                    with archive.open(entries[name]) as entry:
                        arrays.append(_read_array(entry, path, name))
                return arrays
        except PresynError:
            raise
        except Exception as e:  # damage can be any error at all in a reader of zip files and headers
            reason = str(e).splitlines()[0] if str(e) else type(e).__name__
            raise PresynError(f"{path} is not an .npz file of arrays ({reason}).") from None


def read_npy(path: Path) -> np.ndarray:
    """The array in an .npy file.

    Raises:
        PresynError: it is no such file, or is damaged.
    """
    with open_regular(path) as file:
        try:
            return _read_array(file, path, path.name)
        except PresynError:
            raise
        except Exception as e:  # as of an .npz file
            reason = str(e).splitlines()[0] if str(e) else type(e).__name__
            raise PresynError(f"{path} is not an .npy file of numbers ({reason}).") from None


def _read_array(file: IO[bytes], path: Path, name: str) -> np.ndarray:
    """An array in NumPy's format, whose header is read before anything is allocated."""
    version = np.lib.format.read_magic(file)
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"{name} is of the format {version[0]}.{version[1]}")
    shape, fortran_order, dtype = readers[version](file)
    if dtype.hasobject or any(n < 0 for n in shape):
        raise ValueError(f"{name} is no array of numbers")
    what = f"{name} is {' × '.join(map(str, shape)) or 1} of {dtype}"
    content = read_values(file, path, what, math.prod(shape) * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
