"""Which learning rate and optimiser of No Consolidation fit the printed 77.68 on Split MNIST: a grid of twelve, three seeds.

PYTHONPATH=results/baselines presyn reproduce baselines/sgd-rates --module sgd_rates
"""

from dataclasses import dataclass

import pandas as pd

from pipeline.paper import SEEDS
from pipeline.report.statistics import Sample
from pipeline.report.tables import grid
from pipeline.stage import Known, Made, Stage, Wish
from presyn import BENCHMARKS, make_run

RATES = (1e-6, 3e-6, 1e-5, 1e-4, 1e-3, 1e-2)
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True, eq=False)
class SgdRates(Stage):
    """Accuracy of No Consolidation on Split MNIST by learning rate and optimiser; Adam at 1e-6 is that of Table 1."""

    name = "baselines/sgd-rates"
    title = "learning rates of No Consolidation"
    columns = ("rate", "descent", "seed")

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        benchmark = BENCHMARKS["split-mnist"]
        return [
            Wish(make_run("sgd", benchmark, seed, {"eta0": rate, "optimizer": optimizer}), {"rate": rate, "descent": optimizer})
            for optimizer in OPTIMIZERS
            for rate in RATES
            for seed in SEEDS
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        cells = {
            key: str(Sample.from_values((100 * rows.mean_accuracy.dropna()).tolist()))
            for key, rows in frame.groupby(["descent", "rate"], sort=False)
        }
        table = pd.DataFrame([{"optimiser": d, "learning rate": f"{r:g}", "accuracy": a} for (d, r), a in cells.items()])
        return Made(table, {"table.csv": table}, table="table.csv", shown=grid(table, self.title))


SGD_RATES = SgdRates()
