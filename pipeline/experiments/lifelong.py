"""Learning and forgetting over tasks (Fig. 4b, 4c, appendix 3): from rows of Table 1, and of runs whose course is needed."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.experiments.paper import SEEDS
from pipeline.experiments.verify import as_published
from pipeline.report.lifelong import course, figures_of, tasks
from pipeline.report.terminal import grid
from pipeline.stage import Known, Made, Stage, Wish, metrics_of
from presyn import BENCHMARKS, make_run


@dataclass(frozen=True, eq=False)
class Lifelong(Stage):
    """The course of p over ten permuted tasks, beside the accuracies of Table 1's runs on every task.

    Attributes:
        table: Runs of Table 1 with the published settings.
        seeds: Of the runs whose course is needed.
    """

    table: pd.DataFrame
    seeds: tuple[int, ...] = SEEDS
    name = "lifelong"
    experiment = "lifelong"
    title = "lifelong learning"
    columns = ("method", "benchmark", "seed")

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        # A row of Table 1 that was kept without its course is trained again, because the energy was not measured then.
        on = BENCHMARKS["permuted-mnist"]
        return [Wish(make_run("presynaptic", on, seed, {"measures": ["energy"]})) for seed in self.seeds]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        over, each = course(frame), tasks(self.table)
        last = over[over.task == over.task.max()].groupby("benchmark")[["mean_p", "frozen"]].mean().reset_index()
        files = {"summary.csv": over, "tasks.csv": each}
        metrics = metrics_of(last, ("benchmark",), ("mean_p", "frozen"))
        shown = grid(last.round(4), "After the last task")
        return Made(over, files, "summary.csv", metrics=metrics, figures=figures_of(over, each), shown=shown)


def lifelong(results: Path, seeds: tuple[int, ...]) -> Lifelong:
    """The stage, with the rows of Table 1 under a folder.

    Raises:
        PresynError: they are not there.
    """
    return Lifelong(as_published(results), seeds)
