"""Write a file whole or not at all."""

import io
import os
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

Content: TypeAlias = Any
"""What a file can be made of: a frame becomes a CSV, text and bytes stay, anything with savefig becomes a picture."""


def write_whole(path: Path, content: Content) -> Path:
    """Write a table, a text, bytes or a figure, so that a reader sees the old file or the new one.

    Raises:
        OSError: the disk is full or the folder cannot be written; it names the file.
    """
    data = _bytes(content, path)
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


def _bytes(content: Content, path: Path) -> bytes:
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
