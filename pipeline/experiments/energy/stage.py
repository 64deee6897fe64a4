"""The main experiment (Fig. 1, appendix 1a and 1b), and what all experiments on a single task share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd

from pipeline.experiments.energy.claims import energy_verdicts
from pipeline.experiments.energy.figures import draw_energy
from pipeline.experiments.energy.summary import CAPTION, as_file, by_epoch, by_model, shown
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.paper import ENERGY_SEEDS, FIXED_P, L2, MODEL_NAMES
from pipeline.records.results import Results
from pipeline.report.statistics import plus_minus
from pipeline.report.tables import grid, markdown_table
from pipeline.report.verdicts import Verdict
from pipeline.stage import Figure, Known, Made, PageTable, Stage, Wish, refuse_swept, table_metrics
from presyn import Benchmark, Run, make_run
from presyn.methods import method_class
from presyn.options import reject_unknown

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "plastic": ("presynaptic", {}),
    "fixed": ("presynaptic", {"p_up": 0.0, "p_down": 0.0, "p_min": FIXED_P, "bias": "trained"}),
    "deterministic": ("sgd", {}),
}
"""Model -> method and what departs from its settings on the benchmark mnist (released configurations)."""
SWEPT = ("l2", "measures", "parts")
"""What these experiments set themselves."""
ALWAYS_MEASURED = ("energy", "output", "readings")
SYNAPSES_MEASURED = ("synapses", "fisher", "lesion", "neurons", "raises")


@dataclass(frozen=True, eq=False)
class SingleTask(Stage):
    """What the experiments on a single task share.

    Attributes:
        benchmark: A single task.
        seeds: The same for all models, which then start from the same strengths.
        settings: Fields that are set on top, such as epochs; each goes to the models whose method or benchmark has it, but none
            that makes release fixed to the model of fixed release.
    """

    benchmark: Benchmark
    seeds: tuple[int, ...] = ENERGY_SEEDS
    settings: Mapping[str, Any] = field(default_factory=dict)
    swept: ClassVar[tuple[str, ...]] = SWEPT
    models: ClassVar[tuple[str, ...]] = ("plastic",)
    objective = "information_per_energy"

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)
        refuse_swept(self.settings, self.swept, self.title)
        methods = {MODELS[model][0] for model in self.models}
        reject_unknown(self.settings, [name for method in methods for name in _fields(method)])

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.name)

    def run(self, model: str, seed: int, settings: Mapping[str, Any]) -> Run:
        """A run of a model with these settings, on top of which come those of the stage that it has."""
        method, departures = MODELS[model]
        defining = {*departures, "p_init"} if departures else set()
        own_settings = {k: v for k, v in self.settings.items() if k in _fields(method) and k not in defining}
        return make_run(method, self.benchmark, seed, {**departures, **settings, **own_settings})

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        plastic, fixed, deterministic = MODELS
        is_fixed = config.get("p_up") == config.get("p_down") == 0
        model = deterministic if config["method"] == "sgd" else fixed if is_fixed else plastic
        return {"model": (model,), "l2": (config.get("l2", 0.0),)}

    def model_runs(self, models: Sequence[str], strengths: Sequence[float]) -> list[Wish]:
        """Runs of models at strengths of the penalty; of the plastic one the synapses are measured."""
        wishes = []
        for model in models:
            measured = {"measures": [*ALWAYS_MEASURED, *(SYNAPSES_MEASURED if model == "plastic" else ())]}
            for l2 in strengths:
                for seed in self.seeds:
                    wishes.append(Wish(self.run(model, seed, {**measured, "l2": l2}), {"model": model, "l2": l2}))
        return wishes


def _fields(method: str) -> list[str]:
    """Fields of a method, its presets, and those of its benchmark."""
    kind = method_class(method)
    return [*kind.Options.names(), *kind.preset_names, *(n for n in Benchmark.names() if n != "name")]


@dataclass(frozen=True, eq=False)
class Energy(SingleTask):
    """Information, energy and accuracy of three models, after every epoch, against strengths of the penalty."""

    strengths: tuple[float, ...] = L2
    name = "energy"
    title = "energy"
    about = "Information, energy and accuracy of three models, against the strength of the ℓ2 penalty."
    columns = ("model", "l2", "seed")
    models = tuple(MODELS)
    figures = {
        "fig1a": Figure("Fig. 1a", "Information against energy of three models, a dot for each strength of the ℓ2 penalty"),
        "fig1b": Figure("Fig. 1b", "Information per energy of each model at its best ℓ2"),
        "appendix1a": Figure("Appendix 1a", "Information per energy at every ℓ2"),
        "appendix1b": Figure("Appendix 1b", "Information per activity of neurons"),
        "energy-course": Figure("Ours", "Energy and information over the epochs"),
    }
    page_table = PageTable(
        "Energy", "Three models over strengths of the ℓ2 penalty, after the last epoch. per_energy is bits per 1000."
    )

    def ask(self, known: Known) -> list[Wish]:
        return [] if known.rows else self.model_runs(self.models, self.strengths)

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        epochs = by_epoch(frame)
        table = by_model(epochs)
        files: dict[str, Any] = {
            "summary.csv": as_file(epochs),
            "table.csv": table,
            "table.md": f"{markdown_table(shown(table))}\n\n{CAPTION}\n",
        }
        names = {"accuracy": "accuracy", "information": "information", "energy": "energy"}
        metrics = table_metrics(table, ("model", "l2"), {**names, "per_energy": "information_per_energy"})
        on_terminal = grid(shown(table), self.page_table.title, CAPTION)
        return Made(
            epochs,
            files,
            "table.csv",
            metrics=metrics,
            figures=draw_energy(table, epochs),
            shown=on_terminal,
            finding=finding(table),
        )

    def stand_in(self, known: Known) -> pd.DataFrame:
        """Epochs of a plastic model whose p is any but FIXED_P, which has runs of its own."""
        strengths = list(self.strengths)
        return pd.DataFrame({"model": "plastic", "l2": strengths, "seed": self.seeds[0], "epoch": 1, "mean_p": FIXED_P + 0.01})

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return energy_verdicts(results)


def finding(table: pd.DataFrame) -> str:
    """Information per energy of each model at its best penalty."""
    best = table.loc[table.groupby("model", sort=False).per_energy.idxmax()]
    facts = [
        f"{MODEL_NAMES[row.model]} {plus_minus(row.per_energy, row.per_energy_error)} (ℓ2 {row.l2:g}, "
        f"accuracy {100 * row.accuracy:.1f} %)"
        for row in best.itertuples()
    ]
    return "Bits per 1000 units of energy, each model at its best penalty: " + "; ".join(facts) + "."
