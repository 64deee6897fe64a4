"""How much depends on p_up and p_down: both over a factor of 64, for information per energy and for accuracy over tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from pipeline.experiments.energy.stage import ALWAYS_MEASURED
from pipeline.experiments.energy.summary import by_epoch, last_epoch, means_and_errors
from pipeline.experiments.seeds import refuse_search_seeds
from pipeline.paper import P_STEP, RULE, SEEDS
from pipeline.report.drawing import BLACK, Picture, panels
from pipeline.report.tables import as_markdown, grid, with_errors
from pipeline.stage import Figure, Known, Made, PageTable, Stage, Wish, table_metrics
from presyn import BENCHMARKS, make_run

FACTORS = (0.125, 0.25, 0.5, 1, 2, 4, 8)
"""What P_STEP is multiplied by, for each of p_up and p_down."""
STEPS = tuple(round(P_STEP * factor, 6) for factor in FACTORS)
PENALTY = 0.01
"""The ℓ2 penalty at which energy is measured."""
EPOCHS = 10
"""On MNIST; the energy experiments have 50."""
SINGLE, SEQUENCE = "mnist", "split-mnist"
VALUES = {SINGLE: "per_energy", SEQUENCE: "accuracy"}
"""Benchmark -> what is compared on it."""
TITLES = {SINGLE: "information per energy × 1000, MNIST", SEQUENCE: "accuracy in %, Split MNIST"}
DIGITS = {SINGLE: ".2f", SEQUENCE: ".1f"}
NEAR = 0.95
"""The share of the largest mean from which on a pair counts as near it."""
COLUMNS = ("benchmark", "p_up", "p_down", "seed")


@dataclass(frozen=True, eq=False)
class StepMap(Stage):
    """Information per energy on MNIST and accuracy on Split MNIST, over a grid of p_up and p_down.

    Attributes:
        seeds: Of the runs.
        values: Of p_up, and of p_down.
    """

    seeds: tuple[int, ...] = SEEDS
    values: tuple[float, ...] = STEPS
    name = "step-map"
    title = "p_up × p_down"
    about = "Information per energy and accuracy over tasks, over a grid of p_up and p_down."
    columns = COLUMNS
    searched = ("p_up", "p_down")
    figures = {
        "step-map": Figure(
            "Ours",
            "Information per energy × 1000 on MNIST (left) and accuracy in % on Split MNIST (right) over p_up and p_down, "
            "means over seeds; a cross is what the paper's authors use on that benchmark",
        )
    }
    page_table = PageTable(
        "p_up × p_down",
        f"The presynaptic rule on MNIST at ℓ2 {PENALTY:g} after {EPOCHS} epochs (bits per 1000 units of energy) and on Split "
        "MNIST (accuracy in %), for each pair of p_up and p_down; all other settings are the published ones.",
    )

    def __post_init__(self) -> None:
        refuse_search_seeds(self.seeds)

    @staticmethod
    def possible_labels(config: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        return {"p_up": (config["p_up"],), "p_down": (config["p_down"],)}

    def ask(self, known: Known) -> list[Wish]:
        if known.rows:
            return []
        measured = {SINGLE: {"measures": list(ALWAYS_MEASURED), "l2": PENALTY, "epochs": EPOCHS}, SEQUENCE: {}}
        steps = [(up, down) for up in self.values for down in self.values]
        return [
            Wish(
                make_run(RULE, BENCHMARKS[benchmark], seed, {"p_up": up, "p_down": down, **settings}),
                {"p_up": up, "p_down": down},
            )
            for benchmark, settings in measured.items()
            for up, down in dict.fromkeys([*steps, published_pair(benchmark)])
            for seed in self.seeds
        ]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        lines = compare(frame)
        table = means_and_errors(lines, ("benchmark", "p_up", "p_down"), ("value", "mean_p"))
        shown = with_errors(table, ("benchmark", "p_up", "p_down", "n"), {"value": ".2f", "mean_p": ".3f"})
        files = {"summary.csv": lines.drop(columns="run_id"), "table.csv": table, "table.md": as_markdown(shown)}
        metrics = table_metrics(table, ("benchmark", "p_up", "p_down"), ("value",))
        return Made(
            table,
            files,
            "table.csv",
            metrics=metrics,
            figures=draw_map(table),
            shown=grid(shown, self.title),
            finding=finding(table),
        )


def compare(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run that finished: COLUMNS, value, mean_p, run_id; the value is what VALUES names, accuracies in %."""
    finished = frame[frame.status == "finished"]
    single, sequence = (finished[finished.benchmark == name] for name in VALUES)
    ends = last_epoch(by_epoch(single.assign(model="plastic", l2=PENALTY)))
    ends = single[[*COLUMNS, "run_id"]].merge(ends[["run_id", "per_energy", "mean_p"]], on="run_id")
    accuracies = sequence[[*COLUMNS, "run_id", "mean_p"]].assign(value=100 * sequence.mean_accuracy)
    return pd.concat([ends.rename(columns={"per_energy": "value"}), accuracies], ignore_index=True)


def published_pair(benchmark: str) -> tuple[float, float]:
    """p_up and p_down that the authors use on a benchmark."""
    options = make_run(RULE, benchmark, 0).options.as_dict()
    return options["p_up"], options["p_down"]


def finding(table: pd.DataFrame) -> str:
    """How wide the best region is, and where the published pair lies, in a sentence for each benchmark."""
    sentences = []
    for benchmark, unit in ((SINGLE, "bits per 1000"), (SEQUENCE, "%")):
        lines = table[table.benchmark == benchmark].dropna(subset="value")
        if lines.empty:
            continue
        up, down = published_pair(benchmark)
        pairs = lines[on_grid(lines, benchmark)]
        if pairs.empty:
            continue
        best = pairs.loc[pairs.value.idxmax()]
        near = pairs[pairs.value >= NEAR * best.value]
        ups, downs = (f"{name} from {near[name].min():g} to {near[name].max():g}" for name in ("p_up", "p_down"))
        largest = f"{best.value:.4g} ± {best.value_error:.2g} {unit} (n = {best.n})"
        sentences.append(
            f"On {benchmark}, the largest mean of the grid is {largest}, at p_up {best.p_up:g} and p_down {best.p_down:g}; "
            f"{len(near)} of {len(pairs)} pairs have at least {100 * NEAR:.0f} % of it, with {ups} and {downs}."
        )
        for published in lines[(lines.p_up == up) & (lines.p_down == down)].itertuples():
            mean = f"{published.value:.4g} ± {published.value_error:.2g} {unit}"
            sentences.append(f"The published pair, p_up {up:g} and p_down {down:g}, has {mean}.")
    return " ".join(sentences)


def on_grid(lines: pd.DataFrame, benchmark: str) -> pd.Series:
    """Which lines of a benchmark are pairs of the grid: all but a published one with steps of its own."""
    up, down = published_pair(benchmark)
    published = (lines.p_up == up) & (lines.p_down == down)
    others = lines[~published]
    return ~published | (lines.p_up.isin(others.p_up) & lines.p_down.isin(others.p_down))


def draw_map(table: pd.DataFrame) -> dict[str, Picture]:
    """The values over p_up and p_down, a panel for each benchmark."""
    present = [name for name in VALUES if on_grid(table[table.benchmark == name], name).any()]
    if not present:
        return {}
    return {"step-map": panels(*[lambda ax, name=name: _draw(ax, table, name) for name in present], width=4.2, height=3.6)}


def _draw(ax: Axes, table: pd.DataFrame, benchmark: str) -> None:
    lines = table[table.benchmark == benchmark]
    values = lines[on_grid(lines, benchmark)].pivot(index="p_down", columns="p_up", values="value")
    ups, downs = list(values.columns), list(values.index)
    image = ax.imshow(values.to_numpy(), origin="lower", aspect="auto", cmap=plt.get_cmap("cividis"))
    for (i, j), value in np.ndenumerate(values.to_numpy()):
        if np.isnan(value):  # all runs of the pair were lost
            continue
        is_dark = sum(image.to_rgba(value)[:3]) < 1.5
        ax.text(
            j, i, f"{value:{DIGITS[benchmark]}}", ha="center", va="center", fontsize=6.5, color="white" if is_dark else BLACK
        )
    up, down = published_pair(benchmark)
    published = lines[(lines.p_up == up) & (lines.p_down == down) & ~on_grid(lines, benchmark)]
    places = [
        np.interp(np.log(step), np.log(grid_steps), range(len(grid_steps)))
        for step, grid_steps in ((up, ups), (down, downs))
    ]  # fmt: skip
    ax.plot(*places, marker="x", color="white", markersize=12, markeredgewidth=2.5)
    ax.plot(*places, marker="x", color=BLACK, markersize=11, markeredgewidth=1)
    for value in published.value:
        ax.annotate(
            f"{value:{DIGITS[benchmark]}}",
            (places[0], places[1]),
            (7, 0),
            textcoords="offset points",
            fontsize=6.5,
            fontweight="bold",
        )
    ax.set_xticks(range(len(ups)), [f"{step:.3g}" for step in ups], fontsize=7)
    ax.set_yticks(range(len(downs)), [f"{step:.3g}" for step in downs], fontsize=7)
    ax.set(xlabel="p_up", ylabel="p_down", title=TITLES[benchmark])
