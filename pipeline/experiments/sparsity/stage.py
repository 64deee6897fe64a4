"""The main experiment on sparsity (Fig. 2 and 3, appendix 2), over runs that the energy experiment trains as well."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pipeline.experiments.energy.stage import SingleTask
from pipeline.experiments.sparsity.claims import sparsity_verdicts
from pipeline.experiments.sparsity.figures import draw_sparsity
from pipeline.experiments.sparsity.summary import as_file, summarise, table_by_l2
from pipeline.paper import L2, UNNAMED_L2
from pipeline.records.results import Results
from pipeline.report.tables import grid, markdown_table
from pipeline.report.verdicts import Verdict
from pipeline.stage import Figure, Known, Made, Wish, table_metrics

FURTHER_SEEDS = tuple(range(2024, 2032))
"""Besides ENERGY_SEEDS, at the penalty that decides: the D of claim S9 and the r of S11 scatter too much for five."""
SHOWN = ("share_p_below_0.3", "share_p_from_0.9", "pearson_fisher_p", "lesion_p_80", "lesion_random_80", "lesion_weight_80")
"""What the terminal shows of a much longer table."""


@dataclass(frozen=True, eq=False)
class Sparsity(SingleTask):
    """Which synapses of the plastic model are important, and how they are spread over neurons.

    Attributes:
        strengths: Of the penalty.
        further_seeds: At the penalty that decides.
    """

    strengths: tuple[float, ...] = L2
    further_seeds: tuple[int, ...] = ()
    name = "sparsity"
    title = "sparsity"
    about = "Which synapses of the plastic model are important, and how they are spread over neurons."
    columns = ("model", "l2", "seed")
    figures = {
        "fig2a": Figure("Fig. 2a", "Release probabilities after learning: most low, few near one"),
        "fig2b": Figure("Fig. 2b", "Accuracy as synapses are removed, the lowest p, the lowest weight or at random first"),
        "fig2c": Figure("Fig. 2c", "Energy of a synapse by its release probability"),
        "fig2d": Figure("Fig. 2d", "Fisher information of a synapse by its release probability"),
        "fig3a": Figure("Fig. 3a", "Important inputs of each neuron, beside a shuffled control"),
        "fig3b": Figure("Fig. 3b", "Neurons beyond two standard deviations of the control"),
        "fig3c": Figure("Fig. 3c", "Important inputs and important outputs of the same neurons"),
        "appendix2a": Figure("Appendix 2a", "Important inputs and outputs of the neurons of every weight matrix"),
        "appendix2b": Figure("Appendix 2b", "Important inputs and outputs of the neurons of the second hidden layer"),
        "raises": Figure("Ours", "How often p is raised, by the Fisher information of a group of synapses"),
    }

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        wishes = self.model_runs(self.models, self.strengths)
        if self.further_seeds:
            wishes += replace(self, seeds=self.further_seeds).model_runs(self.models, (UNNAMED_L2,))
        return wishes

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        summary = summarise(frame)
        table = table_by_l2(summary)
        files: dict[str, Any] = {
            "summary.csv": as_file(summary),
            "table.csv": table,
            "table.md": f"{markdown_table(table)}\n",
        }
        on_terminal = grid(table[table.quantity.isin(SHOWN)], "Sparsity: mean ± standard error over seeds")
        chosen = summary[summary.quantity.isin(SHOWN)]
        means = chosen.groupby(["quantity", "layer", "l2"], sort=False).value.mean().reset_index()
        metrics = table_metrics(means, ("quantity", "layer", "l2"), {"value": "mean"})
        figures = draw_sparsity(frame, summary)
        return Made(summary, files, "table.csv", metrics=metrics, figures=figures, shown=on_terminal)

    @classmethod
    def verdicts(cls, results: Results) -> Iterator[Verdict]:
        return sparsity_verdicts(results)
