"""Release with a fixed probability that is, at each penalty, the mean p of the plastic model after learning (claim E3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.experiments.energy.stage import ALWAYS_MEASURED, SWEPT, SingleTask
from pipeline.experiments.energy.summary import as_file, by_epoch, by_model, last_epoch, shown
from pipeline.paper import FIXED_P, L2
from pipeline.records.results import Results
from pipeline.report.tables import grid
from pipeline.stage import Known, Made, Wish, table_metrics
from presyn import PresynError

STAND_IN = FIXED_P + 0.01
"""The p of a plan that is made before the plastic model has learned: any but FIXED_P, whose runs are those of `Energy`."""


@dataclass(frozen=True, eq=False)
class MatchedRelease(SingleTask):
    """Fixed release with one p for each penalty; the released configurations have one p for all."""

    name = "matched-release"
    title = "fixed release, p matched at each penalty"
    columns = ("l2", "seed")
    swept = (*SWEPT, "p_min", "p_up", "p_down")
    models = ("fixed",)
    reads_results = True

    @property
    def mlflow_experiment(self) -> str:
        return "energy"

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {**SingleTask.possible_labels(config), "release": (config["p_min"],)}

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        learned = dict.fromkeys(L2, STAND_IN) if known.results is None else _mean_p(known.results)
        measured = {"measures": list(ALWAYS_MEASURED)}
        return [
            Wish(
                self.run("fixed", seed, {**measured, "l2": l2, "p_min": release}),
                {"model": "fixed", "l2": l2, "release": release},
            )
            for l2, release in learned.items()
            for seed in self.seeds
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        epochs = by_epoch(frame)
        table = by_model(epochs)
        files = {"summary.csv": as_file(epochs), "table.csv": table, "table.md": f"{shown(table).to_markdown(index=False)}\n"}
        metrics = table_metrics(table, ("l2",), ("accuracy", "information", "energy"))
        return Made(epochs, files, "table.csv", metrics=metrics, shown=grid(shown(table), self.title))


def _mean_p(results: Results) -> dict[float, float]:
    """Penalty -> the mean p of the plastic model after learning, over seeds.

    Raises:
        PresynError: there are no runs of that model.
    """
    rows = results.rows("energy", ("model", "l2"))
    if rows is None:
        raise PresynError(
            "There are no runs of the plastic model, whose p is to be matched. Make them: presyn reproduce energy"
        )
    last = last_epoch(by_epoch(rows))
    return last[last.model == "plastic"].groupby("l2").mean_p.mean().round(3).to_dict()
