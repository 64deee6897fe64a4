"""Whether the energy results depend on the steps of p: p_up and p_down a quarter smaller and larger (Methods)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.experiments.energy.stage import SWEPT, SingleTask
from pipeline.experiments.energy.summary import as_file, by_epoch, by_model, shown
from pipeline.paper import BEST_L2, P_STEP, QUARTER, QUARTER_L2
from pipeline.report.tables import grid, markdown_table
from pipeline.stage import Known, Made, Wish, table_metrics

ONE_AT_A_TIME = {
    f"{name} = {round(P_STEP * factor, 4):g}": {name: round(P_STEP * factor, 4)}
    for name in ("p_up", "p_down")
    for factor in QUARTER
}
"""Label -> what is set, of one of the two at a time."""
TOGETHER = {
    f"p_up = p_down = {round(P_STEP * factor, 4):g}": dict.fromkeys(("p_up", "p_down"), round(P_STEP * factor, 4))
    for factor in QUARTER
}
"""The same of both together, as the paper changes them."""


@dataclass(frozen=True, eq=False)
class EnergySettings(SingleTask):
    """The plastic model with p_up, p_down or both a quarter smaller or larger. Claim E8 is tested on it beside `Energy`."""

    name = "energy-settings"
    title = "p_up and p_down ± 25 %"
    about = "The plastic model with p_up, p_down or both a quarter smaller or larger."
    columns = ("setting", "l2", "seed")
    swept = (*SWEPT, "p_up", "p_down")

    @property
    def mlflow_experiment(self) -> str:
        return "energy"

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        steps = {name: config[name] for name in ("p_up", "p_down")}
        together = [label for label, setting in TOGETHER.items() if setting.items() <= steps.items()]
        alone = [label for label, setting in ONE_AT_A_TIME.items() if setting.items() <= steps.items()]
        return {**SingleTask.possible_labels(config), "setting": tuple(together or alone)}

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        return [
            Wish(self.run("plastic", seed, {**setting, "l2": l2}), {"model": "plastic", "setting": label, "l2": l2})
            for settings, strengths in ((ONE_AT_A_TIME, QUARTER_L2), (TOGETHER, (BEST_L2,)))
            for label, setting in settings.items()
            for l2 in strengths
            for seed in self.seeds
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        series = by_setting(frame)
        last = pd.concat([by_model(lines).assign(setting=label) for label, lines in series.groupby("setting", sort=False)])
        table = shown(last).assign(model=last.setting.tolist()).rename(columns={"model": "setting"})
        written = as_file(series)
        columns = ["setting", *(c for c in written if c != "setting")]
        files = {"summary.csv": written[columns], "table.md": f"{markdown_table(table)}\n"}
        metrics = table_metrics(last, ("setting", "l2"), ("accuracy", "information", "energy"))
        return Made(series, files, metrics=metrics, shown=grid(table, self.title))


def by_setting(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run and epoch, as `summary.by_epoch` makes them, with the setting."""
    series = [by_epoch(lines).assign(setting=label) for label, lines in frame.groupby("setting", sort=False)]
    return pd.concat(series, ignore_index=True) if series else by_epoch(frame).assign(setting=[])
