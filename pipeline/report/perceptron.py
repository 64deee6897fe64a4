"""The perceptron with and without presynaptic consolidation, from rows alone (Fig. 5b, c)."""

import json

import pandas as pd
from matplotlib.axes import Axes

from pipeline.report.figures import Picture
from pipeline.report.statistics import Sample
from pipeline.report.style import BLACK, ORANGE, panels

COLOURS = {"standard": BLACK, "presynaptic": ORANGE}
PRINTED = 500
"""Patterns of a perceptron in the paper: 5 tasks of 100 (PAPER section 6)."""
CAPTION = (
    "Share of patterns classified rightly after the last task, and of task 1 after each; mean ± standard error over seeds."
)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run: model, seed, patterns (of all tasks), mean_accuracy, task1_after_1 … task1_after_5."""
    lines = []
    for row in frame[frame.status == "finished"].itertuples():
        accuracy = json.loads(row.accuracy)
        first = {f"task1_after_{i}": line[0] for i, line in enumerate(accuracy, start=1)}
        lines.append(
            {"model": row.model, "seed": row.seed, "patterns": row.patterns, "mean_accuracy": row.mean_accuracy, **first}
        )
    return pd.DataFrame(lines)


def by_patterns(long: pd.DataFrame) -> pd.DataFrame:
    """A line for each model and number of patterns: mean and standard error (ddof 1) over seeds, and n."""
    grouped = long.groupby(["patterns", "model"], sort=False)
    names = ["mean_accuracy", *[c for c in long if c.startswith("task1")]]
    table = pd.concat([grouped[names].mean(), grouped[names].sem().add_suffix("_error"), grouped.size().rename("n")], axis=1)
    return table.reset_index().sort_values(["patterns", "model"], ascending=[True, False]).round(6)


def display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    names = ["mean_accuracy", *[c for c in table if c.startswith("task1") and not c.endswith("_error")]]
    shown = table[["patterns", "model", "n"]].astype(str)
    for name in names:
        pairs = zip(table[name], table[f"{name}_error"], table.n, strict=True)
        shown[name.replace("_", " ")] = [f"{m:.4f}" + (f" ± {e:.4f}" if n > 1 else "") for m, e, n in pairs]
    return shown


def difference(long: pd.DataFrame, patterns: int, value: str = "mean_accuracy") -> pd.Series:
    """Presynaptic minus standard by seed, at a number of patterns."""
    of = long[long.patterns == patterns].pivot(index="seed", columns="model", values=value)
    return (of.presynaptic - of.standard).dropna() if {"presynaptic", "standard"} <= set(of) else pd.Series(dtype=float)


def figures_of(long: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 5b, 5c, and the accuracies against the number of patterns."""
    printed = PRINTED if PRINTED in set(long.patterns) else long.patterns.iloc[0]
    of = long[long.patterns == printed]
    return {
        "fig5b": panels(lambda ax: _first_task(ax, of)),
        "fig5c": panels(lambda ax: _means(ax, of), width=2.6),
        "perceptron-patterns": panels(lambda ax: _capacity(ax, long)),
    }


def _first_task(ax: Axes, of: pd.DataFrame) -> None:
    names = [c for c in of if c.startswith("task1")]
    for model, rows in of.groupby("model", sort=False):
        mean, error = rows[names].mean(), rows[names].sem().fillna(0)
        ax.errorbar(range(1, len(names) + 1), mean, error, color=COLOURS[str(model)], marker="o", label=model)
    ax.set(xlabel="tasks learned", ylabel="accuracy on task 1", ylim=(0.75, 1.01))
    ax.set_xticks(range(1, len(names) + 1))
    ax.legend()


def _means(ax: Axes, of: pd.DataFrame) -> None:
    for i, (model, rows) in enumerate(of.groupby("model", sort=False)):
        s = Sample.of(rows.mean_accuracy.tolist())
        ax.bar(i, s.mean, yerr=s.standard_error if s.n > 1 else 0, color=COLOURS[str(model)], label=f"{model} (n = {s.n})")
    ax.set(ylabel="mean accuracy over tasks", ylim=(0.8, 1.0))
    ax.set_xticks([])
    ax.legend()


def _capacity(ax: Axes, long: pd.DataFrame) -> None:
    for model, rows in long.groupby("model", sort=False):
        of = rows.groupby("patterns").mean_accuracy.agg(["mean", "sem"])
        ax.errorbar(of.index, of["mean"], of["sem"].fillna(0), color=COLOURS[str(model)], marker="o", label=model)
    ax.set(xscale="log", xlabel="patterns", ylabel="mean accuracy over tasks")
    ax.legend()
