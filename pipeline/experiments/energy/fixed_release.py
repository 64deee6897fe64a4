"""Release with a fixed probability, swept over p: a learning rate is found for each on validation data (appendix 1c)."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.experiments.energy.figures import draw_fixed_release
from pipeline.experiments.energy.stage import SWEPT, SingleTask
from pipeline.experiments.energy.summary import as_file, by_epoch, last_epoch, means_and_errors
from pipeline.paper import SEEDS
from pipeline.report.tables import grid, markdown_table
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
"""The seed of the runs on validation data: beyond all seeds of reported runs."""
SEARCH, REPORTED = "search", "reported"
"""The two parts of the experiment, as its rows name them."""
PER_ENERGY, ACCURACY = "information per energy", "accuracy"
"""By what a learning rate is chosen: by the first in the paper (legend of appendix 1c), by the second as a further reading."""


@dataclass(frozen=True, eq=False)
class FixedRelease(SingleTask):
    """Fixed release at many p, each with the learning rates that did best on validation data by either criterion."""

    seeds: tuple[int, ...] = SEEDS
    releases: tuple[float, ...] = RELEASES
    rates: tuple[float, ...] = RATES
    name = "fixed-release"
    title = "fixed release probabilities"
    about = "Release with a fixed probability; a learning rate is chosen for each on held-out images."
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
        rates = {
            (labels["release"], labels["eta0"]): (row.record.figures, row.mean_accuracy)
            for labels, row in searched
            if row.mean_accuracy is not None
        }
        chosen = dict.fromkeys(pair for by in (PER_ENERGY, ACCURACY) for pair in _best_rates(rates, by).items())
        return [self._wish(REPORTED, p, eta0, seed, {}) for p, eta0 in sorted(chosen) for seed in self.seeds]

    def to_come(self, known: Known) -> list[Wish]:
        """A reported rate for each release probability; where the two criteria choose different rates there are two."""
        if len(known.rows) >= len(self.releases) * len(self.rates):  # `ask` has asked for the reported runs
            return []
        return [self._wish(REPORTED, p, self.rates[0], seed, {}) for p in self.releases for seed in self.seeds]

    def may_come(self) -> Iterator[tuple]:
        yield from itertools.product([REPORTED], self.releases, self.rates, self.seeds)

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
        files = {"summary.csv": as_file(last), "table.csv": table, "table.md": f"{markdown_table(table)}\n"}
        metrics = table_metrics(table, ("release",), ("accuracy", "information", "energy", "per_energy"))
        on_terminal = grid(table.round(4), self.title)
        return Made(table, files, "table.csv", metrics=metrics, figures=draw_fixed_release(table), shown=on_terminal)


def _best_rates(searched: Mapping[tuple[float, float], tuple[Mapping[str, Any], float]], criterion: str) -> dict[float, float]:
    """Release probability -> its best learning rate; of equal ones the larger.

    Args:
        searched: (release, eta0) -> series and accuracy of a run on validation data.
        criterion: PER_ENERGY, after the last epoch, or ACCURACY.
    """
    best: dict[float, tuple[float, float]] = {}
    for (release, eta0), (series, accuracy) in searched.items():
        score = series["information"][-1] / series["energy"][-1] if criterion == PER_ENERGY else accuracy
        best[release] = max(best.get(release, (-1.0, 0.0)), (score, eta0))
    return {release: eta0 for release, (_, eta0) in best.items()}


def by_release(frame: pd.DataFrame, criterion: str = PER_ENERGY) -> pd.DataFrame:
    """A line for each reported run that finished with the learning rate that a criterion chooses for its release probability.

    Args:
        frame: Rows of the experiment, of both parts.
        criterion: PER_ENERGY or ACCURACY.

    Returns:
        Values after the last epoch, with the columns release and eta0. Nothing where a chosen rate has no reported runs, so
        that no course over p is shown with gaps.
    """
    finished = frame[frame.status == "finished"]
    searched = finished[finished.part == SEARCH]
    rates = {(r.release, r.eta0): (json.loads(r.series), r.mean_accuracy) for r in searched.itertuples()}
    reported = dict(iter(finished[finished.part == REPORTED].groupby(["release", "eta0"])))
    chosen = list(_best_rates(rates, criterion).items())
    if not all(pair in reported for pair in chosen):
        return pd.DataFrame()
    lines = [last_epoch(by_epoch(reported[pair])).assign(release=pair[0], eta0=pair[1]) for pair in chosen]
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame()


def release_table(last: pd.DataFrame) -> pd.DataFrame:
    """A line for each fixed release probability, with the learning rate found for it: mean and standard error over seeds."""
    table = means_and_errors(last, ("release", "eta0"), ("accuracy", "information", "energy", "per_energy"))
    return table.sort_values(["release", "eta0"], ignore_index=True)
