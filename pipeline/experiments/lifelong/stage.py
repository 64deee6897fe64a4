"""The experiment: it trains runs whose course of p over ten permuted tasks is needed, and reads the rows of Table 1."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from pipeline.experiments.lifelong.claims import lifelong_verdicts
from pipeline.experiments.lifelong.figures import draw_lifelong
from pipeline.experiments.lifelong.summary import accuracy_by_task, as_file, course_of_p
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.experiments.table1.rows import as_published, require_as_published
from pipeline.paper import SEEDS
from pipeline.records.results import Results
from pipeline.report.tables import grid
from pipeline.report.verdicts import Verdict
from pipeline.stage import Figure, Known, Made, Stage, Wish, table_metrics
from presyn import BENCHMARKS, make_run


@dataclass(frozen=True, eq=False)
class Lifelong(Stage):
    """The course of p over ten permuted tasks, beside the accuracies of Table 1's runs on every task.

    Attributes:
        seeds: Of the runs whose course is needed.

    Raises:
        PresynError: seeds that searches use.
    """

    seeds: tuple[int, ...] = SEEDS
    name = "lifelong"
    title = "lifelong learning"
    about = "How release probabilities change over ten permuted tasks."
    columns = ("method", "benchmark", "seed")
    reads_results = True
    figures = {
        "fig4b": Figure("Fig. 4b", "Accuracy on the first task of Split MNIST as further tasks are learned"),
        "fig4c": Figure("Fig. 4c", "Mean accuracy of the methods after all tasks; bars start at 0.6"),
        "appendix3a": Figure("Appendix 3a", "Accuracy on each task of Split MNIST at the end"),
        "appendix3b": Figure("Appendix 3b", "Mean p and frozen synapses over ten permuted tasks"),
    }

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        if known.results is not None:
            require_as_published(known.results)
        # A row of Table 1 that was kept without its course is trained again, because the energy was not measured then.
        benchmark = BENCHMARKS["permuted-mnist"]
        return [Wish(make_run("presynaptic", benchmark, seed, {"measures": ["energy"]})) for seed in self.seeds]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        assert known.results is not None
        course, tasks = course_of_p(frame), accuracy_by_task(as_published(known.results))
        last = course[course.task == course.task.max()].groupby("benchmark")[["mean_p", "frozen"]].mean().reset_index()
        files = {"summary.csv": as_file(course), "tasks.csv": as_file(tasks)}
        metrics = table_metrics(last, ("benchmark",), ("mean_p", "frozen"))
        on_terminal = grid(last.round(4), "After the last task")
        return Made(course, files, "summary.csv", metrics=metrics, figures=draw_lifelong(course, tasks), shown=on_terminal)

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return lifelong_verdicts(results)
