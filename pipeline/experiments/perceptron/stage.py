"""The experiment: both perceptrons over numbers of patterns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pipeline.experiments.perceptron.claims import perceptron_verdicts
from pipeline.experiments.perceptron.figures import draw_perceptrons
from pipeline.experiments.perceptron.summary import CAPTION, as_file, by_patterns, shown, summarise
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.paper import PATTERNS, PERCEPTRON_SEEDS
from pipeline.records.results import Results
from pipeline.report.tables import as_markdown, grid
from pipeline.report.verdicts import Verdict
from pipeline.stage import Figure, Known, Made, PageTable, Stage, Wish, refuse_swept, table_metrics
from presyn import make_run
from presyn.benchmarks import PATTERNS as BENCHMARK

MODELS = {"standard": "perceptron", "presynaptic": "presynaptic-perceptron"}
NUMBERS = (20, 50, 100, 200, PATTERNS, 1000, 1500, 2000)
"""Patterns of a perceptron, over its five tasks; up to 2 N, its capacity when it learns them at once."""


@dataclass(frozen=True, eq=False)
class Perceptrons(Stage):
    """Both perceptrons over numbers of patterns.

    Attributes:
        seeds: The same for both, which then learn the same patterns.
        numbers: Patterns of all tasks together.
        settings: Fields that are set on top.
    """

    seeds: tuple[int, ...] = PERCEPTRON_SEEDS
    numbers: tuple[int, ...] = NUMBERS
    settings: Mapping[str, Any] = field(default_factory=dict)
    name = "perceptron"
    title = "perceptrons"
    about = "Two perceptrons that learn random patterns in five tasks, with and without consolidation."
    columns = ("model", "patterns", "seed")
    figures = {
        "fig5b": Figure("Fig. 5b", "Perceptrons: accuracy on the first task as further tasks are learned"),
        "fig5c": Figure("Fig. 5c", "Perceptrons: mean accuracy over five tasks; bars start at 0.8"),
        "perceptron-patterns": Figure("Ours", "Perceptrons: accuracy against the number of patterns"),
    }
    page_table = PageTable(
        "Perceptron", "Random patterns learned in five tasks, by a perceptron with and without consolidation."
    )

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)
        refuse_swept(self.settings, ("patterns", "tasks", "batch_size"), self.title)

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        models = tuple(model for model, method in MODELS.items() if method == config["method"])
        return {"model": models, "patterns": (config["patterns"],)}

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        return [
            Wish(make_run(method, BENCHMARK, seed, {**_patterns(n), **self.settings}), {"model": model, "patterns": n})
            for n in self.numbers
            for model, method in MODELS.items()
            for seed in self.seeds
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        summary = summarise(frame)
        table = by_patterns(summary)
        files = {
            "summary.csv": as_file(summary),
            "table.csv": table,
            "table.md": as_markdown(shown(table), caption=CAPTION),
        }
        metrics = table_metrics(table, ("model", "patterns"), ("mean_accuracy", "task1_after_5"))
        on_terminal = grid(shown(table), "Perceptrons", CAPTION)
        return Made(summary, files, "table.csv", metrics=metrics, figures=draw_perceptrons(summary), shown=on_terminal)

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return perceptron_verdicts(results)


def _patterns(number: int) -> dict[str, int]:
    """A task of fewer patterns than a minibatch is one minibatch."""
    return {"patterns": number, "batch_size": min(BENCHMARK.batch_size, number // BENCHMARK.tasks)}
