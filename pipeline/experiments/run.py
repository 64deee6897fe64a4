"""Some runs, as `presyn run` asks for them: a stage without a table or a parent."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.stage import Known, Made, Stage, Wish
from presyn import Benchmark, make_run


@dataclass(frozen=True, eq=False)
class Runs(Stage):
    """Runs of one method on one benchmark.

    Attributes:
        method, benchmark, settings: What to train.
        seeds: One for each run.
        rows: A CSV to write them to as well.

    Raises:
        PresynError: bad input.
    """

    method: str
    benchmark: Benchmark
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    rows: Path | None = None
    name = "run"
    title = ""
    about = "Runs of the command presyn run."
    shows_lost = True

    def __post_init__(self) -> None:
        self.ask(Known())

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        return [Wish(make_run(self.method, self.benchmark, seed, self.settings), {"stage": "run"}) for seed in self.seeds]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        return Made([row for _, row in known.rows])

    def file(self, results: Path) -> Path | None:
        return self.rows
