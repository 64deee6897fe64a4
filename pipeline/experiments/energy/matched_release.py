"""Release with a fixed probability that is, at each penalty, the mean p of the plastic model after learning (claim E3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.experiments.energy.stage import ALWAYS_MEASURED, SWEPT, Energy, SingleTask
from pipeline.experiments.energy.summary import as_file, by_epoch, by_model, shown
from pipeline.report.tables import grid, markdown_table
from pipeline.stage import Known, Made, Stage, Wish, nothing_to_train, table_metrics


@dataclass(frozen=True, eq=False)
class MatchedRelease(SingleTask):
    """Fixed release with one p for each penalty; the released configurations have one p for all."""

    name = "matched-release"
    title = "fixed release, p matched at each penalty"
    columns = ("l2", "seed")
    swept = (*SWEPT, "p_min", "p_up", "p_down")
    models = ("fixed",)

    @property
    def needs(self) -> tuple[Stage, ...]:  # type: ignore[override]
        """The experiment whose plastic model learned the p that is matched."""
        return (Energy(self.benchmark, self.seeds, self.settings),)

    @property
    def mlflow_experiment(self) -> str:
        return "energy"

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {**SingleTask.possible_labels(config), "release": (config["p_min"],)}

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        epochs = known.values[Energy.name]
        learned = {} if epochs is None else _mean_p(epochs)
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
        if frame.empty:
            return nothing_to_train(self)
        epochs = by_epoch(frame)
        table = by_model(epochs)
        files = {"summary.csv": as_file(epochs), "table.csv": table, "table.md": f"{markdown_table(shown(table))}\n"}
        metrics = table_metrics(table, ("l2",), ("accuracy", "information", "energy"))
        return Made(epochs, files, "table.csv", metrics=metrics, shown=grid(shown(table), self.title))


def _mean_p(epochs: pd.DataFrame) -> dict[float, float]:
    """Penalty -> the mean p of the plastic model after learning, over seeds."""
    plastic = epochs[epochs.model == "plastic"].sort_values("epoch")
    return plastic.groupby(["l2", "seed"]).mean_p.last().groupby("l2").mean().round(3).to_dict()
