"""Energy and sparsity (Fig. 1 to 3): three models under l2 penalties on MNIST, and the synapses of the plastic one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd

from pipeline.experiments.table1 import refuse_search_seeds
from pipeline.report.energy import CAPTION, by_model, display, summary
from pipeline.report.energy_figures import of_energy
from pipeline.report.sparsity import sparsity_summary, sparsity_table
from pipeline.report.sparsity_figures import of_sparsity
from pipeline.report.terminal import grid
from pipeline.stage import Known, Made, Stage, Wish, metrics_of, refuse_swept
from presyn import Benchmark, make_run

L2 = (0.0, 0.001, 0.005, 0.01, 0.05, 0.1)
"""Strengths of the penalty, of the released configurations (PAPER section 6)."""
SEEDS = (2019, 2020, 2021, 2022, 2023)
"""The paper's three, and two more."""
FIXED_P = 0.4
"""Release probability of the fixed model: about the mean p of the plastic one after learning (PAPER section 6)."""
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "plastic": ("presynaptic", {}),
    "fixed": ("presynaptic", {"p_up": 0.0, "p_down": 0.0, "p_min": FIXED_P, "bias": "trained"}),
    "deterministic": ("sgd", {}),
}
"""Model -> method and what departs from its settings on the benchmark mnist."""
SWEPT = ("l2", "measures", "keep", "parts")
"""What these experiments set themselves."""
EVERYWHERE = ("energy", "output", "readings")
SHOWN = ("share_p_below_0.3", "share_p_from_0.9", "pearson_fisher_p", "lesion_p_80", "lesion_random_80", "lesion_weight_80")
"""What the terminal shows of a much longer table."""
OF_SYNAPSES = ("synapses", "fisher", "lesion", "neurons", "raises")


def wishes(
    models: Sequence[str], benchmark: Benchmark, l2s: Sequence[float], seeds: Sequence[int], settings: Mapping[str, Any]
) -> list[Wish]:
    """Runs of models at strengths of the penalty; of the plastic one the synapses are measured and the final state is kept."""
    found = []
    for model in models:
        method, own = MODELS[model]
        more: dict[str, Any] = {"measures": [*EVERYWHERE, *OF_SYNAPSES], "keep": True} if model == "plastic" else {}
        more = more or {"measures": list(EVERYWHERE)}
        for l2 in l2s:
            for seed in seeds:
                run = make_run(method, benchmark, seed, {**own, **more, "l2": l2, **settings})
                found.append(Wish(run, {"model": model, "l2": l2}))
    return found


@dataclass(frozen=True, eq=False)
class OnOneTask(Stage):
    """What the experiments on a single task share.

    Attributes:
        benchmark: A single task.
        seeds: The same for all models, which then start from the same strengths.
        settings: What is set on top, such as epochs.
    """

    benchmark: Benchmark
    seeds: tuple[int, ...] = SEEDS
    settings: Mapping[str, Any] = field(default_factory=dict)
    swept: ClassVar[tuple[str, ...]] = SWEPT

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)
        refuse_swept(self.settings, self.swept, self.title)


@dataclass(frozen=True, eq=False)
class Energy(OnOneTask):
    """Information, energy and accuracy of three models, after every epoch, against strengths l2s of the penalty."""

    l2s: tuple[float, ...] = L2
    name = "energy"
    experiment = "energy"
    title = "energy"
    columns = ("model", "l2", "seed")

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        return wishes(tuple(MODELS), self.benchmark, self.l2s, self.seeds, self.settings)

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        series = summary(frame)
        table = by_model(series)
        shown = display(table)
        files: dict[str, Any] = {
            "summary.csv": series,
            "table.csv": table,
            "table.md": f"{shown.to_markdown(index=False)}\n\n{CAPTION}\n",
        }
        numbers = {
            "accuracy": "accuracy",
            "information": "information",
            "energy": "energy",
            "per_energy": "information_per_energy",
        }
        metrics = metrics_of(table, ("model", "l2"), numbers)
        figures = of_energy(table, series)
        return Made(series, files, "table.csv", metrics=metrics, figures=figures, shown=grid(shown, "Energy", CAPTION))


@dataclass(frozen=True, eq=False)
class Sparsity(OnOneTask):
    """Which synapses of the plastic model are important, and how they are spread; over runs that `Energy` trains as well."""

    l2s: tuple[float, ...] = L2
    name = "sparsity"
    experiment = "sparsity"
    title = "sparsity"
    columns = ("model", "l2", "seed")

    def ask(self, known: Known) -> list[Wish]:
        return [] if known.rows else wishes(("plastic",), self.benchmark, self.l2s, self.seeds, self.settings)

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        long = sparsity_summary(frame)
        table = sparsity_table(long)
        files: dict[str, Any] = {
            "summary.csv": long,
            "table.csv": table,
            "table.md": f"{table.to_markdown(index=False)}\n",
        }
        shown = table[table.quantity.isin(SHOWN)]
        heading = "Sparsity: mean ± standard error over seeds"
        means = long[long.quantity.isin(SHOWN)].groupby(["quantity", "layer", "l2"], sort=False).value.mean().reset_index()
        metrics = metrics_of(means, ("quantity", "layer", "l2"), {"value": "mean"})
        figures = of_sparsity(frame, long)
        return Made(long, files, "table.csv", metrics=metrics, figures=figures, shown=grid(shown, heading))
