"""The experiment: each task of a sequence is learned from the same start, and the synapses that it freezes are compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.experiments.overlap.claims import overlap_verdicts
from pipeline.experiments.overlap.figures import draw_overlap
from pipeline.experiments.overlap.summary import CAPTION, COMPARED_ON, VARIANTS, as_file, by_variant, shown, summarise
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.paper import OVERLAP_SEEDS, RULE
from pipeline.records.results import Results
from pipeline.report.tables import as_markdown, grid
from pipeline.report.verdicts import Verdict
from pipeline.stage import Figure, Known, Made, PageTable, Stage, Wish, table_metrics
from presyn import BENCHMARKS, Benchmark, make_run


@dataclass(frozen=True, eq=False)
class Overlap(Stage):
    """Which synapses each task freezes when every task starts from the same network; the rule and its controls.

    Attributes:
        seeds: Of the runs.
        benchmarks: The sequences of tasks.

    In a sequence as usual a synapse is frozen once, so no two tasks could freeze the same one. What tasks would freeze, each by
    itself, can be compared.
    """

    seeds: tuple[int, ...] = OVERLAP_SEEDS
    benchmarks: tuple[Benchmark, ...] = tuple(BENCHMARKS[name] for name in COMPARED_ON)
    name = "overlap"
    title = "overlap of tasks"
    about = "Which synapses tasks freeze when each is learned from the same start."
    columns = ("variant", "benchmark", "seed")
    figures = {"overlap": Figure("Ours", "Synapses that two tasks freeze, each by itself, over what chance would give (M1)")}
    page_table = PageTable("Overlap of tasks", CAPTION)

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        settings = VARIANTS.items()
        fitting = {variant: len(s) for variant, s in settings if all(config.get(k) == value for k, value in s.items())}
        return {"variant": tuple(variant for variant, n in fitting.items() if n == max(fitting.values()))}

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        compared = {"restarts": True, "tests": "new", "measures": ["overlap"]}
        return [
            Wish(make_run(RULE, benchmark, seed, {**compared, **settings}), {"variant": variant})
            for benchmark in self.benchmarks
            for variant, settings in VARIANTS.items()
            for seed in self.seeds
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        summary = summarise(frame)
        table = by_variant(summary)
        files = {"summary.csv": as_file(summary), "table.csv": table, "table.md": as_markdown(shown(table), caption=CAPTION)}
        metrics = table_metrics(table, ("variant", "benchmark"), ("share", "overlap"))
        on_terminal = grid(shown(table), "Overlap of tasks", CAPTION)
        return Made(summary, files, "table.csv", metrics=metrics, figures=draw_overlap(summary), shown=on_terminal)

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return overlap_verdicts(results)
