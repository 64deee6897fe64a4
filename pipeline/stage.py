"""What an experiment is: a stage asks for runs, and makes tables, figures and a value of their rows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.records.files import Content
from pipeline.records.row import Row
from presyn import PresynError, Run

Labels = dict[str, Any]
"""What a stage calls a run, such as {"parameters": "searched"}; they become columns of its CSV."""


@dataclass(frozen=True)
class Wish:
    """A run that a stage wants, and its labels there."""

    run: Run
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What a stage is told.

    Attributes:
        rows: Of all it has asked for so far, with their labels, in order.
        values: Name of a needed stage -> the value that it made; None where it is not known yet (see `perform`).
    """

    rows: Sequence[tuple[Labels, Row]] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What a stage made of its rows.

    Attributes:
        value: For the stages that need it, such as a search's winner.
        files: Name in the stage's folder -> what is in it.
        table: The one of the files that becomes a table in MLflow.
        params, metrics: Of the stage's parent run in MLflow.
        words: A line for the terminal as soon as it is made.
        shown: What the terminal shows at the end, for rich to print.
        study: An Optuna study, for the store's optuna.db.
        figures: Name -> a figure of the paper, which goes to the folder figures of the results, as PNG and as SVG.
    """

    value: Any = None
    files: Mapping[str, Content] = field(default_factory=dict)
    table: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    words: str = ""
    shown: Any = None
    study: Any = None
    figures: Mapping[str, Content] = field(default_factory=dict)


def refuse_swept(settings: Mapping[str, Any], swept: Sequence[str], title: str) -> None:
    """Raise a PresynError for settings of what an experiment sweeps or measures itself, which would mislabel its rows."""
    for name in settings:
        if name in swept:
            raise PresynError(f"--set {name} does not go with {title}, which sets it itself: leave it out.")


def metrics_of(table: pd.DataFrame, keys: Sequence[str], values: Mapping[str, str] | Sequence[str]) -> dict[str, float]:
    """The numbers of a table as metrics of MLflow, such as presynaptic.split-mnist.searched.mean; nan is left out.

    Args:
        table: A line for each of what the keys tell apart.
        keys: Columns whose values make the names.
        values: Columns of numbers, and what they are called.
    """
    named = dict(values) if isinstance(values, Mapping) else {name: name for name in values}
    return {
        ".".join([*(f"{line[k]:g}" if isinstance(line[k], float) else str(line[k]) for k in keys), name]): float(line[column])
        for line in table.to_dict("records")
        for column, name in named.items()
        if line[column] == line[column]
    }


class Stage(ABC):
    """An experiment: what it asks for, and what it makes of it. Both are pure; `pipeline.perform` does the rest.

    Attributes:
        name: Also its folder under the results, such as search/presynaptic-permuted-mnist.
        experiment: Its MLflow experiment.
        title: Of its parent run in MLflow, and of its plan; empty for runs that have no parent.
        columns: The columns of its CSV that together tell its rows apart.
        needs: Stages whose values it must know.
        extends: A column by which lines of the CSV that the stage did not ask about stay as they are; None replaces all.
    """

    name: str
    experiment: str
    title: str
    columns: tuple[str, ...] = ("run_id",)
    needs: tuple["Stage", ...] = ()
    extends: str | None = None

    @abstractmethod
    def ask(self, known: Known) -> list[Wish]:
        """The runs it wants next; nothing when it is done.

        Raises:
            PresynError: it asks for something impossible.
        """

    @abstractmethod
    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        """Tables, figures and a value, of the lines of its CSV.

        Raises:
            PresynError: nothing can be made of them.
        """

    @property
    def identity(self) -> str:
        """What it is to MLflow, besides the runs it asked for first."""
        return self.name

    def stand_in(self, known: Known) -> Any:
        """A value like the one it will make, before its runs are trained: a plan for those who need it costs as much."""
        return None

    def recall(self, results: Path) -> Any:
        """The value it made before, as its files have it; None if they are not there."""
        return None

    def refuse(self, results: Path) -> None:  # noqa: B027
        """Refuse, before long work, what would be lost of what is there besides the rows of its CSV.

        Raises:
            PresynError: something would be lost.
        """

    def folder(self, results: Path) -> Path:
        return results / self.name

    def file(self, results: Path) -> Path | None:
        """The CSV of its rows; None if it keeps none."""
        return self.folder(results) / "runs.csv"
