"""The experiment: searches of one space by several samplers, each with several seeds, and their winners on new seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.experiments.samplers.summary import compare_winners, curves_of, finding, make_table, mean_curve
from pipeline.experiments.search.pictures import draw_progress
from pipeline.experiments.search.stage import Search, search
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.records.results import Results
from pipeline.report.tables import as_markdown, grid
from pipeline.stage import Figure, Known, Made, PageTable, Stage, Wish, table_metrics
from presyn import make_run
from sweeps.halving import Halving
from sweeps.space import Space

SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {},
    "qmc": {"sampler": "qmc"},
    "tpe": {"sampler": "tpe"},
    "tpe, halving": {"sampler": "tpe", "halving": Halving((1, 2))},
}
"""What is compared; the first is what the others are compared with."""
SAMPLER_SEEDS = (1, 2, 3)
NEW_SEEDS = tuple(range(3001, 3011))
"""Seeds on which the winners are trained; no search and no other experiment has them."""


@dataclass(frozen=True, eq=False)
class Samplers(Stage):
    """Samplers side by side on one space.

    Attributes:
        searches: (sampler, its seed) -> its search.
        seeds: On which the winners are trained again.
    """

    searches: Mapping[tuple[str, int], Search]
    seeds: tuple[int, ...] = NEW_SEEDS
    name = "samplers"
    title = "samplers"
    columns = ("sampler", "sampler_seed", "seed")
    reads_results = True
    made_of_others = True
    figures = {
        "samplers": Figure(
            "Ours",
            "Best validation accuracy against network steps by sampler: the mean over three sampler seeds (thick) and each of "
            "them (thin), on the first five tasks of Permuted MNIST with one epoch each",
        )
    }
    page_table = PageTable(
        "Samplers",
        "Searches of the presynaptic rule by sampler, on the first five tasks of Permuted MNIST with one epoch each, which is "
        "less than the paper's search. Work counts whole runs; best is the winner's validation accuracy in %, new seeds the "
        "same on ten seeds that no search has seen; difference is in points from random search, paired over sampler seeds.",
    )

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        return tuple(self.searches.values())

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        wishes = []
        for (sampler, number), its_search in self.searches.items():
            winner, space = known.values.get(its_search.name), its_search.space
            if winner is None:  # of a search that is not over
                continue
            labels = {"stage": "samplers", "sampler": sampler, "sampler_seed": number}
            runs = [make_run(space.method, space.benchmark, seed, {**space.fixed, **winner.params}) for seed in self.seeds]
            wishes += [Wish(run, labels) for run in runs]
        return wishes

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        assert known.results is not None
        return self.remake(frame, known.results)

    def remake(self, frame: pd.DataFrame, results: Results) -> Made:
        all_curves = {key: curves_of(s.space, results.rows(s.name)) for key, s in self.searches.items()}
        curves = {key: curve for key, curve in all_curves.items() if curve is not None}
        if len({sampler for sampler, _ in curves}) < 2:
            return Made(message="Two samplers are not there yet to be compared.")
        base = next(iter(SAMPLERS))
        table, winners = make_table(frame, curves, base), compare_winners(frame, base)
        by_sampler = {name: [c for (n, _), c in curves.items() if n == name] for name in SAMPLERS}
        by_sampler = {name: lines for name, lines in by_sampler.items() if lines}
        space = next(iter(self.searches.values())).space
        means = {name: mean_curve(lines) for name, lines in by_sampler.items()}
        figures = {"samplers": draw_progress(means, space, by_sampler)} if means else {}
        metrics = table_metrics(table, ("sampler",), ("work", "best", "new_seeds"))
        shown = grid(table.round(3), "Samplers", "Accuracies in %, work in whole runs; difference from random in points.")
        files = {
            "table.csv": table.round(4),
            "table.md": as_markdown(table.round(2).astype(object).where(table.notna(), "–")),
            "winners.csv": winners.round(4),
            "winners.md": as_markdown(winners.round(2)),
        }
        return Made(
            table, files, "table.csv", metrics=metrics, figures=figures, shown=shown, finding=finding(table, winners, base)
        )


def samplers(space: Space, manifests: Path | None = None, sampler_seeds: tuple[int, ...] = SAMPLER_SEEDS) -> Samplers:
    """The stage on a space, with a search for each sampler and seed."""
    searches = {}
    for sampler, changes in SAMPLERS.items():
        for seed in sampler_seeds:
            name = f"{sampler.replace(', ', '-')}-{seed}"
            searches[sampler, seed] = search(replace(space, name=name, sampler_seed=seed, **changes), manifests, "samplers")
    return Samplers(searches)
