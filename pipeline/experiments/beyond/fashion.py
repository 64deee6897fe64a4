"""Whether what holds of energy and of synapses on MNIST holds on Fashion-MNIST, with the parameters of MNIST."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pipeline.experiments.energy.claims import model_claims
from pipeline.experiments.energy.figures import draw_tradeoff_and_penalties
from pipeline.experiments.energy.stage import SWEPT, Energy
from pipeline.experiments.energy.summary import LABELS, by_epoch
from pipeline.experiments.sparsity.claims import synapse_claims
from pipeline.experiments.sparsity.summary import summarise
from pipeline.records.results import Results
from pipeline.report.by_seed import with_lost
from pipeline.report.verdicts import Verdict
from pipeline.stage import Figure, Known, Made, PageTable
from presyn import Run

PENALTIES = (0.0, 0.01, 0.05)
"""None, the penalty of the main figures, and that at which all models are best on MNIST."""
READING = "Fashion-MNIST"


@dataclass(frozen=True, eq=False)
class EnergyFashion(Energy):
    """The same three models on Fashion-MNIST. The claims on energy and on synapses have a reading for each."""

    strengths: tuple[float, ...] = PENALTIES
    name = "energy-fashion"
    title = "energy on Fashion-MNIST"
    about = "Information, energy and important synapses on Fashion-MNIST."
    swept = (*SWEPT, "dataset")
    figures = {
        "energy-fashion": Figure(
            "Ours", "Fashion-MNIST: information against energy of three models, and information per energy by ℓ2"
        )
    }
    page_table = PageTable(
        "Energy on Fashion-MNIST",
        "Three models with the parameters of MNIST, after the last epoch. per_energy is bits per 1000. What the claims come to "
        "here is beside each claim, as a reading that decides nothing.",
    )

    @property
    def mlflow_experiment(self) -> str:
        return "energy"

    def run(self, model: str, seed: int, settings: Mapping[str, Any]) -> Run:
        return super().run(model, seed, {**settings, "dataset": "fashion"})

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        made = super().make(frame, known)
        table = made.files["table.csv"]
        return replace(made, figures={"energy-fashion": draw_tradeoff_and_penalties(table)})

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        rows = results.rows("energy-fashion", ("model", "l2"))
        if rows is None:
            return
        yield from model_claims(with_lost(by_epoch(rows), rows, LABELS, ("epoch",)), PENALTIES, READING)
        plastic = rows[rows.model == "plastic"]
        yield from synapse_claims(with_lost(summarise(plastic), plastic, LABELS, ("quantity", "layer")), PENALTIES[0], READING)
