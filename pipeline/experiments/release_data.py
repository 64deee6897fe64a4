"""Whether synapses with a high release probability change less (appendix 4).

It needs a file of measurements, which does not come along. The layout read here is ours; it was tried on made-up numbers alone.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.report.release_data import COLUMNS, figures_of, summary
from pipeline.report.terminal import grid
from pipeline.stage import Known, Made, Stage, Wish
from presyn import PresynError
from presyn.datasets import data_root

FILE = "release_data.csv"
SOURCE = "Dryad 10.5061/dryad.p286g (Costa et al. 2017), data of Sjöström et al. (2001)"
REMEDY = (
    f"Make it from {SOURCE}: a CSV with the columns {', '.join(COLUMNS)}, the release probability of a synapse "
    "before and after plasticity was induced, a line for each synapse."
)


def file_of(data: str | None) -> Path:
    """Where the file belongs: in the data folder."""
    return data_root(data) / FILE


def read(path: Path) -> pd.DataFrame:
    """The measurements.

    Raises:
        PresynError: the file is absent, or is not such a CSV.
    """
    if not path.exists():
        raise PresynError(f"{path} is missing. {REMEDY}")
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as e:
        raise PresynError(f"{path} is no CSV ({str(e).splitlines()[0]}). {REMEDY}") from None
    missing = [c for c in COLUMNS if c not in frame]
    if missing:
        raise PresynError(f"{path} has no column {missing[0]}. {REMEDY}")
    values = frame[list(COLUMNS)].apply(pd.to_numeric, errors="coerce")
    wrong = values.index[~values.ge(0).all(axis=1) | ~values.le(1).all(axis=1)]
    if len(wrong):
        raise PresynError(f"{path}, line {wrong[0] + 2}: a release probability must be a number from 0 to 1.")
    if len(values) < 4:
        raise PresynError(f"{path} has {len(values)} synapses; a correlation needs at least 4.")
    if values.before.nunique() < 2 or (values.after - values.before).abs().nunique() < 2:
        raise PresynError(f"{path} has the same number for all synapses, which correlates with nothing.")
    return values


@dataclass(frozen=True, eq=False)
class ReleaseData(Stage):
    """The correlation of release probability before plasticity with how much it changes.

    Attributes:
        measured: As `read` gives it.
    """

    measured: pd.DataFrame = field(repr=False)
    name = "release-data"
    experiment = "release-data"
    title = "measured release probabilities"

    def ask(self, known: Known) -> list[Wish]:
        return []

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        table = summary(self.measured)
        figures = figures_of(self.measured)
        return Made(table, {"summary.csv": table}, "summary.csv", figures=figures, shown=grid(table.round(4), self.title))
