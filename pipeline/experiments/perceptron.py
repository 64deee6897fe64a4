"""Perceptrons on random patterns, standard and presynaptic (Fig. 5b, c; Methods)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pipeline.report.perceptron import CAPTION, PRINTED, by_patterns, display, figures_of, summary
from pipeline.report.terminal import grid
from pipeline.stage import Known, Made, Stage, Wish, metrics_of, refuse_swept
from presyn import make_run
from presyn.benchmarks import PATTERNS

SEEDS = tuple(range(1000, 1060))
"""The released notebook's ten, and fifty more."""
MODELS = {"standard": "perceptron", "presynaptic": "presynaptic-perceptron"}
NUMBERS = (20, 50, 100, 200, PRINTED, 1000, 1500, 2000)
"""Patterns of a perceptron, over its five tasks; up to 2 N, its capacity when it learns them at once."""


@dataclass(frozen=True, eq=False)
class Perceptrons(Stage):
    """Both perceptrons over numbers of patterns.

    Attributes:
        seeds: The same for both, which then learn the same patterns.
        numbers: Patterns of all tasks together.
        settings: What is set on top.
    """

    seeds: tuple[int, ...] = SEEDS
    numbers: tuple[int, ...] = NUMBERS
    settings: Mapping[str, Any] = field(default_factory=dict)
    name = "perceptron"
    experiment = "perceptron"
    title = "perceptrons"
    columns = ("model", "patterns", "seed")

    def __post_init__(self) -> None:
        refuse_swept(self.settings, ("patterns", "tasks", "batch_size"), self.title)

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        return [
            Wish(make_run(method, PATTERNS, seed, {**_patterns(n), **self.settings}), {"model": model, "patterns": n})
            for n in self.numbers
            for model, method in MODELS.items()
            for seed in self.seeds
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        long = summary(frame)
        table = by_patterns(long)
        shown = display(table)
        files = {
            "summary.csv": long,
            "table.csv": table,
            "table.md": f"{shown.to_markdown(index=False, disable_numparse=True)}\n\n{CAPTION}\n",
        }
        metrics = metrics_of(table, ("model", "patterns"), ("mean_accuracy", "task1_after_5"))
        shown = grid(shown, "Perceptrons", CAPTION)
        return Made(long, files, "table.csv", metrics=metrics, figures=figures_of(long), shown=shown)


def _patterns(number: int) -> dict[str, int]:
    """A task of fewer patterns than a minibatch is one minibatch."""
    return {"patterns": number, "batch_size": min(PATTERNS.batch_size, number // PATTERNS.tasks)}
