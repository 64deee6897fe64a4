"""What the energy experiments hang on: the steps of p, the start of p, and the p of the fixed model (appendix 1c, 1d)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.experiments.energy import MODELS, SEEDS, SWEPT, OnOneTask
from pipeline.report.energy import by_model, display, fixed_release, last_epoch, series_of, summary
from pipeline.report.energy_figures import of_fixed_release, of_uniform
from pipeline.report.statistics import Sample
from pipeline.report.terminal import grid
from pipeline.stage import Known, Made, Wish, metrics_of
from presyn import make_run
from presyn.benchmarks import SEARCH_SEEDS

QUARTER = {
    **{f"p_up = {v:g}": {"p_up": v} for v in (0.0525, 0.0875)},
    **{f"p_down = {v:g}": {"p_down": v} for v in (0.0525, 0.0875)},
}
"""A quarter less and more (Methods)."""
QUARTER_L2 = (0.01, 0.1)
RELEASES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Fixed release probabilities; the paper does not say which it took."""
RATES = (0.00625, 0.0125, 0.025, 0.05, 0.1)
"""Learning rates to choose from for each of them; the authors' is 0.05."""
RELEASE_L2 = 0.01
SEARCHED = {"validation": 10_000, "epochs": 10}
SEARCH_SEED = SEARCH_SEEDS + 69_884
"""Of the runs on validation data: beyond all seeds of reported runs."""


@dataclass(frozen=True, eq=False)
class EnergySettings(OnOneTask):
    """The plastic model with p_up or p_down a quarter smaller or larger."""

    name = "energy-settings"
    experiment = "energy"
    title = "p_up and p_down ± 25 %"
    columns = ("setting", "l2", "seed")
    swept = (*SWEPT, "p_up", "p_down")

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        return [
            Wish(
                make_run("presynaptic", self.benchmark, seed, {**of, "l2": l2, **self.settings}),
                {"model": "plastic", "setting": name, "l2": l2},
            )
            for name, of in QUARTER.items()
            for l2 in QUARTER_L2
            for seed in self.seeds
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        parts = [summary(of).assign(setting=name) for name, of in frame.groupby("setting", sort=False)]
        series = pd.concat(parts, ignore_index=True)
        last = pd.concat([by_model(of).assign(setting=name) for name, of in series.groupby("setting", sort=False)])
        shown = display(last).assign(model=last.setting.tolist()).rename(columns={"model": "setting"})
        files = {
            "summary.csv": series[["setting", *series.columns[:-1]]],
            "table.md": f"{shown.to_markdown(index=False)}\n",
        }
        metrics = metrics_of(last, ("setting", "l2"), ("accuracy", "information", "energy"))
        return Made(series, files, metrics=metrics, shown=grid(shown, self.title))


@dataclass(frozen=True, eq=False)
class UniformStart(OnOneTask):
    """The plastic model from p ~ U(p_min, 1) (appendix 1d)."""

    name = "uniform-start"
    experiment = "sparsity"
    title = "p from a uniform start"
    swept = (*SWEPT, "p_init")
    columns = ("l2", "seed")

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        more = {"measures": ["energy", "output", "synapses", "fisher"], "p_init": "uniform", **self.settings}
        runs = [make_run("presynaptic", self.benchmark, seed, more) for seed in self.seeds]
        return [Wish(run, {"model": "plastic", "l2": 0.0}) for run in runs]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        done = frame[frame.status == "finished"]
        series = list(series_of(done))
        histogram = [s["histogram_p"][-1] for s in series]
        names = ("share_p_below_0.3", "share_p_from_0.9", "pearson_fisher_p")
        values = [
            {"quantity": name, "layer": "all", "model": "plastic", "l2": l2, "seed": seed, "value": s[name][-1][-1]}
            for seed, l2, s in zip(done.seed, done.l2, series, strict=True)
            for name in names
        ]
        long = pd.DataFrame(values)
        shown = long.groupby("quantity", sort=False).value.agg(lambda v: str(Sample.of(v.tolist()))).reset_index()
        figures = of_uniform(histogram, 1 / len(histogram[0])) if histogram else {}
        metrics = metrics_of(long.groupby("quantity", sort=False).value.mean().reset_index(), ("quantity",), {"value": "mean"})
        return Made(long, {"summary.csv": long}, "summary.csv", metrics=metrics, figures=figures, shown=grid(shown, self.title))


@dataclass(frozen=True, eq=False)
class FixedRelease(OnOneTask):
    """Fixed release at many p: a learning rate is found for each on validation data (appendix 1c)."""

    seeds: tuple[int, ...] = SEEDS[:3]
    releases: tuple[float, ...] = RELEASES
    rates: tuple[float, ...] = RATES
    name = "fixed-release"
    experiment = "energy"
    title = "fixed release probabilities"
    columns = ("part", "release", "eta0", "seed")
    swept = (*SWEPT, "p_min", "p_up", "p_down", "eta0", "validation")

    def ask(self, known: Known) -> list[Wish]:
        tried = [(of, row) for of, row in known.rows if of["part"] == "search"]
        if not tried:
            searched = {**SEARCHED, **{k: v for k, v in self.settings.items() if k == "epochs"}}
            if self.benchmark.dataset == "digits":
                searched["validation"] = 300
            return [self._wish("search", p, eta0, SEARCH_SEED, searched) for p in self.releases for eta0 in self.rates]
        if len(known.rows) > len(tried):
            return []
        best: dict[float, tuple[float, float]] = {}
        for of, row in tried:
            accuracy = -1.0 if row.mean_accuracy is None else row.mean_accuracy
            best[of["release"]] = max(best.get(of["release"], (-1.0, 0.0)), (accuracy, of["eta0"]))
        found = [(p, eta0) for p, (accuracy, eta0) in best.items() if accuracy >= 0]
        return [self._wish("reported", p, eta0, seed, {}) for p, eta0 in found for seed in self.seeds]

    def _wish(self, part: str, release: float, eta0: float, seed: int, settings: Mapping[str, Any]) -> Wish:
        method, own = MODELS["fixed"]
        of = {**own, "p_min": release, "eta0": eta0, "l2": RELEASE_L2, **self.settings, **settings}
        labels = {"part": part, "model": "fixed", "release": release, "eta0": eta0, "l2": RELEASE_L2}
        return Wish(make_run(method, self.benchmark, seed, of), labels)

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        last = [
            last_epoch(summary(of)).assign(release=p, eta0=eta0)
            for (p, eta0), of in frame[(frame.part == "reported") & (frame.status == "finished")].groupby(["release", "eta0"])
        ]
        if not last:
            return Made(None, {})
        series = pd.concat(last, ignore_index=True)
        table = fixed_release(series)
        files = {"summary.csv": series, "table.csv": table, "table.md": f"{table.to_markdown(index=False)}\n"}
        shown = grid(table.round(4), self.title)
        metrics = metrics_of(table, ("release",), ("accuracy", "information", "energy", "per_energy"))
        return Made(table, files, "table.csv", metrics=metrics, figures=of_fixed_release(table), shown=shown)
