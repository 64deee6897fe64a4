"""The plastic model from release probabilities that are uniform at the start (appendix 1d)."""

from dataclasses import dataclass

import pandas as pd

from pipeline.experiments.energy.figures import draw_shares
from pipeline.experiments.energy.stage import SWEPT, SingleTask
from pipeline.experiments.energy.summary import series_of
from pipeline.experiments.sparsity.summary import COLUMNS, as_file
from pipeline.report.drawing import panels
from pipeline.report.statistics import Sample
from pipeline.report.tables import grid
from pipeline.stage import Figure, Known, Made, Wish, table_metrics

QUANTITIES = ("share_p_below_0.3", "share_p_from_0.9", "pearson_fisher_p")


@dataclass(frozen=True, eq=False)
class UniformStart(SingleTask):
    """The plastic model from p ~ U(p_min, 1), without a penalty."""

    name = "uniform-start"
    title = "p from a uniform start"
    about = "The plastic model whose release probabilities are spread uniformly at the start."
    columns = ("l2", "seed")
    swept = (*SWEPT, "p_init")
    figures = {"appendix1d": Figure("Appendix 1d", "Release probabilities from a uniform start")}

    @property
    def mlflow_experiment(self) -> str:
        return "sparsity"

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        settings = {"measures": ["energy", "output", "synapses", "fisher"], "p_init": "uniform"}
        return [Wish(self.run("plastic", seed, settings), {"model": "plastic", "l2": 0.0}) for seed in self.seeds]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        summary = summarise_start(frame)
        histograms = [series["histogram_p"][-1] for series in series_of(frame[frame.status == "finished"])]
        by_quantity = summary.groupby("quantity", sort=False).value
        table = by_quantity.agg(lambda values: str(Sample.from_values(values.tolist()))).reset_index()
        metrics = table_metrics(by_quantity.mean().reset_index(), ("quantity",), {"value": "mean"})
        start = 1 / len(histograms[0])
        picture = panels(lambda ax: draw_shares(ax, histograms, start, "from p ~ U(0.25, 1)"))
        files = {"summary.csv": as_file(summary)}
        on_terminal = grid(table, self.title)
        return Made(summary, files, "summary.csv", metrics=metrics, figures={"appendix1d": picture}, shown=on_terminal)


def summarise_start(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each quantity and run, over all layers together. Lost runs have no lines."""
    finished = frame[frame.status == "finished"]
    lines = [
        [quantity, "all", "plastic", row.l2, row.seed, series[quantity][-1][-1], row.run_id]
        for row, series in zip(finished.itertuples(), series_of(finished), strict=True)
        for quantity in QUANTITIES
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))
