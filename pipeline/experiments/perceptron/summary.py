"""The perceptron with and without presynaptic consolidation, from rows alone (Fig. 5b, c)."""

import json

import pandas as pd

from pipeline.report.by_seed import BySeed
from pipeline.report.statistics import plus_minus

AFTER_EACH = tuple(f"task1_after_{i}" for i in range(1, 6))
"""Accuracy on task 1 after each of the five tasks."""
CAPTION = (
    "Share of patterns classified rightly after the last task, and of task 1 after each; mean ± standard error over seeds."
)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run that finished: model, seed, patterns of all tasks, mean_accuracy, task1_after_1 to 5, run_id."""
    lines = []
    for row in frame[frame.status == "finished"].itertuples():
        first_task = {f"task1_after_{i}": tested[0] for i, tested in enumerate(json.loads(row.accuracy), start=1)}
        labels = {"model": row.model, "seed": row.seed, "patterns": row.patterns}
        lines.append({**labels, "mean_accuracy": row.mean_accuracy, **first_task, "run_id": row.run_id})
    return pd.DataFrame(lines, columns=None if lines else ["model", "seed", "patterns", "mean_accuracy", *AFTER_EACH, "run_id"])


def as_file(summary: pd.DataFrame) -> pd.DataFrame:
    """The lines as they are written to summary.csv; the runs behind them are in runs.csv."""
    return summary.drop(columns="run_id")


def by_patterns(summary: pd.DataFrame) -> pd.DataFrame:
    """A line for each model and number of patterns: mean and standard error (ddof 1) over seeds, and n."""
    grouped = summary.groupby(["patterns", "model"], sort=False)
    names = ["mean_accuracy", *[c for c in summary if c.startswith("task1")]]
    table = pd.concat([grouped[names].mean(), grouped[names].sem().add_suffix("_error"), grouped.size().rename("n")], axis=1)
    return table.reset_index().sort_values(["patterns", "model"], ascending=[True, False]).round(6)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    names = ["mean_accuracy", *[c for c in table if c.startswith("task1") and not c.endswith("_error")]]
    columns = table[["patterns", "model", "n"]].astype(str)
    for name in names:
        pairs = zip(table[name], table[f"{name}_error"], strict=True)
        columns[name.replace("_", " ")] = [plus_minus(mean, error, ".4f") for mean, error in pairs]
    return columns


def accuracy(summary: pd.DataFrame, model: str, patterns: int, value: str = "mean_accuracy") -> BySeed:
    """A value of one model at a number of patterns, by seed."""
    return BySeed.from_frame(summary[(summary.model == model) & (summary.patterns == patterns)], value)


def gain(summary: pd.DataFrame, patterns: int, value: str = "mean_accuracy") -> BySeed:
    """Presynaptic minus standard by seed, at a number of patterns."""
    return accuracy(summary, "presynaptic", patterns, value) - accuracy(summary, "standard", patterns, value)
