"""Files where no folder is shared: what `pathlib` offers, of any file system that pyarrow (and so Ray) knows, such as s3://."""

import contextlib
import fnmatch
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from presyn import PresynError
from presyn.errors import hide_passwords
from presyn.files import expand_home


def open_folder(address: str | Path) -> Any:
    """A folder by its path, or by an address such as s3://bucket/folder?endpoint_override=http://host:9000.

    Returns:
        A Path, or a `RemotePath`.

    Raises:
        PresynError: there is no such file system.
    """
    if isinstance(address, Path) or "://" not in address:
        return expand_home(address).absolute()
    from pyarrow import ArrowInvalid, ArrowNotImplementedError  # only here: most users have their files in a folder
    from pyarrow.fs import FileSystem, FileType

    try:
        system, path = FileSystem.from_uri(address)
        info = system.get_file_info(path)
    except (ArrowInvalid, ArrowNotImplementedError, OSError, ValueError) as e:
        reason = hide_passwords(str(e).splitlines()[0])
        raise PresynError(f"{hide_passwords(address)} cannot be used for checkpoints: {reason}") from None
    if info.type == FileType.File or not path.strip("/"):
        raise PresynError(
            f"{hide_passwords(address)} cannot be used for checkpoints: it is no folder, such as s3://bucket/folder."
        )
    return RemotePath(system, path.rstrip("/"))


@dataclass(frozen=True)
class RemotePath:
    """A file or folder of a pyarrow file system, with those methods of a Path that checkpoints use."""

    system: Any
    path: str

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(self.system, f"{self.path}/{name}")

    def __str__(self) -> str:
        return f"{self.system.type_name}://{self.path}"

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return self.name.rsplit(".", 1)[0]

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self.system, self.path.rsplit("/", 1)[0])

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        self.system.create_dir(self.path, recursive=True)

    def exists(self) -> bool:
        return bool(self.system.get_file_info(self.path).type)

    def read_bytes(self) -> bytes:
        with self.system.open_input_stream(self.path) as file:
            return file.read()

    def read_head(self, most: int) -> bytes:
        """The first bytes of a file, at most so many."""
        with self.system.open_input_stream(self.path) as file:
            return file.read(most)

    def write_bytes(self, content: bytes) -> None:
        with self.system.open_output_stream(self.path) as file:
            file.write(content)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self.system.delete_file(self.path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """The files and folders that match, each * standing for one name."""
        from pyarrow.fs import FileSelector

        nested = "/" in pattern
        for info in self.system.get_file_info(FileSelector(self.path, allow_not_found=True, recursive=nested)):
            name = info.path.rstrip("/").removeprefix(f"{self.path}/")
            if name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern):
                yield self / name


def remove_folder(folder: Any) -> None:
    """Remove a folder and all in it, as far as that is possible."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        folder.system.delete_dir(folder.path)
