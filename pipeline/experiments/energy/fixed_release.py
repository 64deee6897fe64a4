"""Release with a fixed probability, swept over p: a learning rate is found for each on validation data (appendix 1c)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.experiments.energy.figures import draw_fixed_release
from pipeline.experiments.energy.stage import SWEPT, SingleTask
from pipeline.experiments.energy.summary import as_file, by_epoch, last_epoch, means_and_errors
from pipeline.paper import SEEDS
from pipeline.report.tables import grid
from pipeline.stage import Figure, Known, Made, Wish, table_metrics
from presyn.benchmarks import SEARCH_SEEDS

RELEASES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Fixed release probabilities; the paper does not say which it took."""
RATES = (0.00625, 0.0125, 0.025, 0.05, 0.1)
"""Learning rates to choose from for each of them; the authors' is 0.05."""
RELEASE_L2 = 0.01
"""The penalty (legend of appendix 1c)."""
VALIDATION = {"digits": 300, "mnist": 10_000}
"""Data set -> training images held out for the choice of the learning rate."""
SEARCH_EPOCHS = 10
SEARCH_SEED = SEARCH_SEEDS + 69_884
"""Of the runs on validation data: beyond all seeds of reported runs."""
SEARCH, REPORTED = "search", "reported"
"""The two parts of the experiment, as its rows name them."""


@dataclass(frozen=True, eq=False)
class FixedRelease(SingleTask):
    """Fixed release at many p, each with the learning rate that did best on validation data."""

    seeds: tuple[int, ...] = SEEDS
    releases: tuple[float, ...] = RELEASES
    rates: tuple[float, ...] = RATES
    name = "fixed-release"
    title = "fixed release probabilities"
    columns = ("part", "release", "eta0", "seed")
    swept = (*SWEPT, "p_min", "p_up", "p_down", "eta0", "validation")
    models = ("fixed",)
    figures = {"appendix1c": Figure("Appendix 1c", "Fixed release, swept over p")}

    @property
    def mlflow_experiment(self) -> str:
        return "energy"

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        part = SEARCH if config["validation"] else REPORTED
        labels = {"part": part, "release": config["p_min"], "eta0": config["eta0"], "l2": config.get("l2", 0.0)}
        return {label: (value,) for label, value in labels.items()}

    def ask(self, known: Known) -> list[Wish]:
        searched = [(labels, row) for labels, row in known.rows if labels["part"] == SEARCH]
        if not searched:
            settings = {
                "validation": VALIDATION.get(self.benchmark.dataset, 10_000),
                "epochs": self.settings.get("epochs", SEARCH_EPOCHS),
            }
            return [self._wish(SEARCH, p, eta0, SEARCH_SEED, settings) for p in self.releases for eta0 in self.rates]
        if len(known.rows) > len(searched):
            return []
        best: dict[float, tuple[float, float]] = {}
        for labels, row in searched:
            accuracy = -1.0 if row.mean_accuracy is None else row.mean_accuracy
            best[labels["release"]] = max(best.get(labels["release"], (-1.0, 0.0)), (accuracy, labels["eta0"]))
        chosen = [(p, eta0) for p, (accuracy, eta0) in best.items() if accuracy >= 0]
        return [self._wish(REPORTED, p, eta0, seed, {}) for p, eta0 in chosen for seed in self.seeds]

    def _wish(self, part: str, release: float, eta0: float, seed: int, settings: Mapping[str, Any]) -> Wish:
        labels = {"part": part, "model": "fixed", "release": release, "eta0": eta0, "l2": RELEASE_L2}
        run = self.run("fixed", seed, {"p_min": release, "eta0": eta0, "l2": RELEASE_L2, **settings})
        return Wish(run, labels)

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        last = by_release(frame)
        if last.empty:
            lost = int((frame.status != "finished").sum())
            table = pd.DataFrame([{"runs": len(frame), "lost": lost}])
            message = f"{self.title}: no reported run was finished ({lost} of {len(frame)} were lost)."
            return Made(None, {"table.csv": table}, "table.csv", message=message, shown=table)
        table = release_table(last)
        files = {"summary.csv": as_file(last), "table.csv": table, "table.md": f"{table.to_markdown(index=False)}\n"}
        metrics = table_metrics(table, ("release",), ("accuracy", "information", "energy", "per_energy"))
        on_terminal = grid(table.round(4), self.title)
        return Made(table, files, "table.csv", metrics=metrics, figures=draw_fixed_release(table), shown=on_terminal)


def by_release(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each reported run that finished: its values after the last epoch, its release probability and eta0."""
    reported = frame[(frame.part == REPORTED) & (frame.status == "finished")]
    lines = [
        last_epoch(by_epoch(rows)).assign(release=p, eta0=eta0) for (p, eta0), rows in reported.groupby(["release", "eta0"])
    ]
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame()


def release_table(last: pd.DataFrame) -> pd.DataFrame:
    """A line for each fixed release probability, with the learning rate found for it: mean and standard error over seeds."""
    table = means_and_errors(last, ("release", "eta0"), ("accuracy", "information", "energy", "per_energy"))
    return table.sort_values(["release", "eta0"], ignore_index=True)
