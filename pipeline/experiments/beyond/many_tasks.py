"""Where plasticity ends: thirty permuted tasks, with and without consolidation."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipeline.experiments.energy.summary import means_and_errors, series_of
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.paper import METHOD_NAMES, RULE, SEEDS
from pipeline.report.drawing import METHOD_COLOURS, Picture, panels
from pipeline.report.statistics import plus_minus
from pipeline.report.tables import as_markdown, grid, with_errors
from pipeline.stage import Figure, Known, Made, PageTable, Stage, Wish, table_metrics
from presyn import BENCHMARKS, make_run

TASKS = 30
BENCHMARK = "permuted-mnist"
METHODS = (RULE, "sgd")
SHOWN_AFTER = (1, 5, 10, 15, 20, 25, 30)
"""Tasks after which the table has a line."""
VALUES = ("newest", "mean", "first", "frozen", "mean_p")


@dataclass(frozen=True, eq=False)
class ManyTasks(Stage):
    """Three times as many permuted tasks as the paper has; the first ten are those of the benchmark.

    Attributes:
        seeds: Of the runs.
        tasks: How many tasks are learned.
    """

    seeds: tuple[int, ...] = SEEDS
    tasks: int = TASKS
    name = "many-tasks"
    title = "thirty permuted tasks"
    about = "Accuracy and frozen synapses over thirty permuted tasks, with and without consolidation."
    columns = ("method", "seed")
    figures = {
        "many-tasks": Figure(
            "Ours",
            "Over thirty tasks of Permuted MNIST: accuracy on the task just learned, mean accuracy over all tasks so far, and "
            "the share of frozen synapses; bars are standard errors over seeds",
        )
    }
    page_table = PageTable(
        "Thirty tasks",
        "Accuracies in % after so many tasks of Permuted MNIST: on the newest task, over all tasks so far, and on the first; "
        "the share of frozen synapses and the mean p.",
    )

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        return [
            Wish(make_run(method, BENCHMARKS[BENCHMARK], seed, {"tasks": self.tasks}))
            for method in METHODS
            for seed in self.seeds
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        lines = after_each_task(frame)
        table = means_and_errors(lines, ("method", "tasks"), VALUES)
        short = table[table.tasks.isin(SHOWN_AFTER)].reset_index(drop=True)
        digits = {"newest": ".1f", "mean": ".1f", "first": ".1f", "frozen": ".3f", "mean_p": ".3f"}
        shown = with_errors(short, ("method", "tasks", "n"), digits)
        files = {"summary.csv": lines.drop(columns="run_id"), "table.csv": short, "table.md": as_markdown(shown)}
        metrics = table_metrics(short, ("method", "tasks"), ("newest", "mean", "frozen"))
        return Made(
            table, files, "table.csv", metrics=metrics, figures=draw_many_tasks(table), shown=grid(shown, self.title),
            finding=finding(table),
        )  # fmt: skip


def after_each_task(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each finished run and task: method, seed, tasks (learned so far), VALUES, run_id; accuracies in %."""
    finished = frame[frame.status == "finished"]
    lines = []
    for row, series in zip(finished.itertuples(), series_of(finished), strict=True):
        for i, tested in enumerate(json.loads(row.accuracy)):
            accuracies = 100 * np.array(tested[: i + 1], dtype=float)
            frozen, mean_p = (series[name][i] if series.get(name) else float("nan") for name in ("frozen", "mean_p"))
            values = [accuracies[-1], accuracies.mean(), accuracies[0], frozen, mean_p]
            lines.append([row.method, row.seed, i + 1, *values, row.run_id])
    return pd.DataFrame(lines, columns=["method", "seed", "tasks", *VALUES, "run_id"])


def finding(table: pd.DataFrame) -> str:
    """What the newest task and all tasks together come to after the first, ten and all tasks."""
    sentences = []
    for method in METHODS:
        lines = table[table.method == method].set_index("tasks")
        moments = [n for n in (1, 10, int(lines.index.max())) if n in lines.index] if len(lines) else []
        if not moments:
            continue
        facts = []
        for n in moments:
            frozen = f", with {100 * lines.frozen[n]:.1f} % of synapses frozen" if lines.frozen[n] == lines.frozen[n] else ""
            newest, mean = (plus_minus(lines[v][n], lines[f"{v}_error"][n], ".1f") for v in ("newest", "mean"))
            over = f", {mean} % over {n} tasks" if n > 1 else ""
            facts.append(f"{newest} % on task {n} just after it{over}{frozen}")
        sentences.append(f"{METHOD_NAMES[method]} (n = {lines.n[n]}) has " + "; ".join(facts) + ".")
    return " ".join(sentences)


def draw_many_tasks(table: pd.DataFrame) -> dict[str, Picture]:
    """Accuracies and the share of frozen synapses against the number of tasks."""
    drawn = [("newest", "accuracy on the newest task, %"), ("mean", "mean accuracy so far, %"), ("frozen", "frozen synapses")]
    return {"many-tasks": panels(*[lambda ax, v=v, label=label: _draw(ax, table, v, label) for v, label in drawn])}


def _draw(ax: Axes, table: pd.DataFrame, value: str, label: str) -> None:
    for method in METHODS:
        lines = table[(table.method == method) & table[value].notna()]
        error = lines[f"{value}_error"].fillna(0)
        ax.errorbar(lines.tasks, lines[value], error, color=METHOD_COLOURS[method], label=METHOD_NAMES[method])
    ax.set(xlabel="tasks learned", ylabel=label)
    if value != "frozen":
        ax.legend()
