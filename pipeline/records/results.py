"""The rows under a folder of results, as stages have exported them: checked line by line, each file read once."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.records.csvs import read_rows


class Results:
    """The rows under a folder of results.

    Args:
        folder: Where stages write, such as results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, tuple[int, pd.DataFrame]] = {}

    def rows(self, stage: str, columns: Sequence[str] = ()) -> pd.DataFrame | None:
        """The rows of a stage by its name, such as table1; None if it has exported none.

        Raises:
            PresynError: the file lacks one of these columns, or a line of it is not a run or was changed.
        """
        path = self.folder / stage / "runs.csv"
        return self.file(path, columns) if path.exists() else None

    def file(self, path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
        """The rows in a file under the folder; errors as of `rows`."""
        written = path.stat().st_mtime_ns
        if path not in self._read or self._read[path][0] != written:
            self._read[path] = (written, read_rows(path, columns))
        frame = self._read[path][1]
        return frame if set(columns) <= set(frame) else read_rows(path, columns)

    def paths(self) -> list[Path]:
        """Every file of rows under the folder that a stage or a person put there to be believed, by its name."""
        exported = {path for path in self.folder.rglob("runs.csv") if "bench" not in path.relative_to(self.folder).parts}
        return sorted({*exported, *(self.folder / "seeds").rglob("*.csv")})
