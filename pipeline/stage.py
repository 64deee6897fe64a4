"""What an experiment is: a stage asks for runs, and makes tables, figures and a value of their rows."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from rich.table import Table

from pipeline.records.files import Content
from pipeline.records.latex import as_frame, as_latex
from pipeline.records.results import Results
from pipeline.records.row import Row
from presyn import PresynError, Run

Labels = dict[str, Any]
"""What a stage calls a run, such as {"parameters": "searched"}; they become columns of its CSV."""


@dataclass(frozen=True)
class Wish:
    """A run that a stage wants.

    Attributes:
        run: The run.
        labels: What the stage calls it.
        pauses: Whether the stage may want a longer run that goes on from the end of this one.
        goes_on_from: The run on fewer tasks, of an earlier wish, from whose end it goes on where that left its state.
    """

    run: Run
    labels: Labels = field(default_factory=dict)
    pauses: bool = False
    goes_on_from: Run | None = None


@dataclass(frozen=True)
class Known:
    """What a stage is told when it is asked.

    Attributes:
        rows: Of all it has asked for so far, with their labels, in order.
        values: Name of a needed stage -> the value that it made; while a plan is made, its `stand_in`.
        results: The rows under the results folder, for a stage that is made of the rows of others.
    """

    rows: Sequence[tuple[Labels, Row]] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    results: Results | None = None


@dataclass(frozen=True)
class Made:
    """What a stage made of its rows.

    Attributes:
        value: For the stages that need it, such as a search's winner.
        files: Name in the stage's folder -> its content.
        table: The one of the files that becomes a table in MLflow.
        params: Tags of the stage's parent run in MLflow, such as the best parameters of a search.
        metrics: Of that run.
        winner: The id of the run that it chose, if it chose one.
        message: A line for the terminal as soon as it is made.
        shown: What the terminal shows at the end: a frame, or something that rich prints.
        study: An Optuna study, for the store's optuna.db.
        figures: Name -> a figure of the paper, which goes to the folder figures of the results, as PNG and as SVG.
        finding: What came out, in sentences filled from the table, for the page.
    """

    value: Any = None
    files: Mapping[str, Content] = field(default_factory=dict)
    table: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    winner: str = ""
    message: str = ""
    shown: Any = None
    study: Any = None
    figures: Mapping[str, Content] = field(default_factory=dict)
    finding: str = ""


@dataclass(frozen=True)
class Step:
    """How far a stage that asks again has come.

    Attributes:
        message: A line for the terminal.
        metrics: Of the stage's parent run in MLflow, one step further.
    """

    message: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A figure as the page shows it: its place in the paper (or "Ours"), and what it shows."""

    place: str
    caption: str


@dataclass(frozen=True)
class PageTable:
    """A table of a stage as the page shows it."""

    title: str
    caption: str


class Stage(ABC):
    """An experiment: what it asks for, and what it makes of it. Both are pure; `pipeline.perform` does the rest.

    Attributes:
        name: Also its folder under the results, such as search/presynaptic-permuted-mnist.
        title: Of its parent run in MLflow, and of its plan; empty for runs that have no parent.
        columns: The columns of its CSV that together tell its rows apart.
        needs: Stages whose values it must know.
        extends: A column of its CSV. Lines that are there already stay if their value in this column was not asked for; with
            None all lines are replaced.
        reads_results: Whether it is made of the rows of other stages under the results folder; it comes after all of them.
        made_of_others: Whether the page can show it before it has rows of its own, from those of other stages.
        shows_lost: Whether `make` can be given rows of which every run was lost; else a table of the lost ones is made instead.
        figures: Name -> what the page says of the figures that it makes.
        page_table: What the page says of its table.csv; None where it shows none.
        about: What it is, in a sentence, for its experiment's page in MLflow.
        objective: The metric in MLflow by which its runs are compared.
        minimize: Whether less of it is better.
        searched: Parameters that it draws and compares.
    """

    name: str
    title: str
    columns: tuple[str, ...] = ("run_id",)
    needs: tuple["Stage", ...] = ()
    extends: str | None = None
    reads_results: bool = False
    made_of_others: bool = False
    shows_lost: bool = False
    figures: ClassVar[Mapping[str, Figure]] = {}
    page_table: ClassVar[PageTable | None] = None
    about: str = ""
    objective: str = "accuracy"
    minimize: bool = False
    searched: tuple[str, ...] = ()

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

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """Label -> its possible values for a run of this configuration, of labels that follow from it; see `refuse_labels`."""
        return {}

    def leaves_out(self) -> list[str]:
        """Lines for the plan: which rows of its table it does not ask for, and why."""
        return []

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Any]:
        """What it says of the paper's claims, from the rows under a folder; see `pipeline.report.verdicts.Verdict`."""
        yield from ()

    @property
    def mlflow_experiment(self) -> str:
        """The MLflow experiment that its runs go to."""
        return self.name

    @property
    def mlflow_name(self) -> str:
        """The name of its parent run in MLflow; empty for runs that have no parent."""
        return self.title

    @property
    def identity(self) -> str:
        """What tells it from other stages in MLflow, besides the runs that it asks for first."""
        return self.name

    def stand_in(self, known: Known) -> Any:
        """A value like the one it will make, before its runs are trained: a plan for those who need it costs as much."""
        return None

    def to_come(self, known: Known) -> list[Wish]:
        """Stand-ins for the runs that it will ask for when it has the rows of those it has asked for; each takes as long."""
        return []

    def may_come(self) -> Iterator[tuple]:
        """The values of its columns for all runs that it may still ask for: their lines in its CSV are not dropped."""
        yield from ()

    def steps(self, known: Known, count: Callable[[Run], int]) -> list[Step]:
        """How it has come on so far, for a stage that asks again.

        Args:
            known: What it is told.
            count: Gives the network steps of a run.
        """
        return []

    def recall(self, results: Path) -> Any:
        """The value it made before, as its files have it; None if they are not there."""
        return None

    def refuse(self, results: Path) -> None:  # noqa: B027
        """Refuse, before long work, what would be lost of what is there besides the rows of its CSV.

        Raises:
            PresynError: something would be lost.
        """

    def remake(self, frame: pd.DataFrame, results: Results) -> Made:
        """The tables and figures that follow from exported rows alone, as the page shows them and `verify` compares them.

        Args:
            frame: The lines of its CSV.
            results: The rows of other stages, for one that reads them.
        """
        return self.make(frame, Known(results=results))

    def folder(self, results: Path) -> Path:
        return results / self.name

    def file(self, results: Path) -> Path | None:
        """The CSV of its rows; None if it keeps none."""
        return self.folder(results) / "runs.csv"


def with_latex(stage: Stage, made: Made) -> dict[str, Content]:
    """The files that a stage made, with the table that it shows as table.tex, unless it has made one as LaTeX itself."""
    files = dict(made.files)
    if not stage.title or not isinstance(made.shown, pd.DataFrame | Table) or any(name.endswith(".tex") for name in files):
        return files
    frame = as_frame(made.shown)
    if frame.columns.is_unique and len(frame):
        texts = [str(made.shown.title or stage.title), str(made.shown.caption or "")] if isinstance(made.shown, Table) else []
        caption = ". ".join(text for text in texts if text) or stage.title
        files["table.tex"] = as_latex(frame, caption, f"tab:{stage.name.replace('/', '-')}")
    return files


def refuse_labels(stage: Stage, frame: pd.DataFrame, path: Path) -> None:
    """Check the labels of exported rows against their configurations.

    Raises:
        PresynError: a label is that of another run, so that rows would be compared under wrong names.
    """
    for number, line in enumerate(frame.to_dict("records"), start=2):
        for label, values in stage.possible_labels(json.loads(line["config"])).items():
            if line[label] not in values:
                raise PresynError(
                    f"{path}, line {number}: its {label} is {line[label]!r}, but its configuration is that of "
                    f"{' or '.join(map(repr, values))}. Get the file back from where it came from."
                )


def refuse_swept(settings: Mapping[str, Any], swept: Sequence[str], title: str) -> None:
    """Raise a PresynError for settings of what an experiment sweeps or measures itself, which would mislabel its rows."""
    for name in settings:
        if name in swept:
            raise PresynError(f"--set {name} does not go with {title}, which sets it itself: leave it out.")


def nothing_to_train(stage: Stage) -> Made:
    """What comes of a stage that asks for no runs, because those that it goes on from were lost or are not there yet."""
    before = " and ".join(need.title for need in stage.needs)
    return Made(message=f"{stage.title}: nothing to train, because {before} gave nothing to go on from.")


def table_metrics(table: pd.DataFrame, keys: Sequence[str], columns: Mapping[str, str] | Sequence[str]) -> dict[str, float]:
    """The numbers of a table as metrics of MLflow, such as presynaptic.split-mnist.searched.mean; nan is left out.

    Args:
        table: A line for each combination of the keys.
        keys: Columns whose values make the names.
        columns: Columns of numbers, and what they are called.
    """
    names = dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns}
    return {
        ".".join([*(f"{line[k]:g}" if isinstance(line[k], float) else str(line[k]) for k in keys), name]): float(line[column])
        for line in table.to_dict("records")
        for column, name in names.items()
        if line[column] == line[column]
    }
