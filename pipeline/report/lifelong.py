"""The course of learning over tasks, from rows alone (Fig. 4b, 4c, appendix 3)."""

import json

import pandas as pd
from matplotlib.axes import Axes

from pipeline.report.energy import series_of
from pipeline.report.figures import Picture
from pipeline.report.statistics import Sample
from pipeline.report.style import BLUE, OF_METHOD, ORANGE, panels
from pipeline.report.words import NAMES

SPLIT = "split-mnist"


def course(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run and task: benchmark, seed, task, mean_p, frozen, energy, after that task."""
    done = frame[frame.status == "finished"]
    lines = []
    for row, series in zip(done.itertuples(), series_of(done), strict=True):
        for task, values in enumerate(zip(series["mean_p"], series["frozen"], series["energy"], strict=True), start=1):
            lines.append([row.benchmark, row.seed, task, *values])
    return pd.DataFrame(lines, columns=["benchmark", "seed", "task", "mean_p", "frozen", "energy"])


def tasks(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each run, task, and task after which it was tested: method, benchmark, seed, task, after, accuracy."""
    lines = []
    for row in rows[rows.status == "finished"].itertuples():
        table = json.loads(row.accuracy)
        first = len(table[-1]) - len(table)  # joint training has one row, after all tasks
        for i, tested in enumerate(table):
            lines += [
                [row.method, row.benchmark, row.seed, j + 1, first + i + 1, accuracy]
                for j, accuracy in enumerate(tested)
                if accuracy is not None
            ]
    return pd.DataFrame(lines, columns=["method", "benchmark", "seed", "task", "after", "accuracy"])


def on_task(each: pd.DataFrame, method: str, benchmark: str, task: int, after: int) -> pd.Series:
    """Accuracy by seed on a task after a task."""
    chosen = each[(each.method == method) & (each.benchmark == benchmark) & (each.task == task) & (each.after == after)]
    return chosen.set_index("seed").accuracy


def figures_of(over: pd.DataFrame, each: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 4b, 4c, appendix 3a and 3b."""
    split = each[each.benchmark == SPLIT]
    return {
        "fig4b": panels(lambda ax: _first_task(ax, split)),
        "fig4c": panels(lambda ax: _means(ax, split), width=4.4),
        "appendix3a": panels(lambda ax: _each_task(ax, split), width=4.6),
        "appendix3b": panels(
            lambda ax: _course(ax, over, "mean_p", "mean release probability"),
            lambda ax: _course(ax, over, "frozen", "share of frozen synapses"),
        ),
    }


def _first_task(ax: Axes, split: pd.DataFrame) -> None:
    for method in ("presynaptic", "sgd"):
        of = split[(split.method == method) & (split.task == 1)].groupby("after").accuracy.agg(["mean", "sem"])
        ax.errorbar(of.index, of["mean"], of["sem"].fillna(0), color=OF_METHOD[method], marker="o", label=NAMES[method])
    ax.set(xlabel="tasks learned", ylabel="accuracy on task 1", title="Split MNIST")
    ax.set_xticks(sorted(split.after.unique()))
    ax.legend()


def _last(split: pd.DataFrame) -> pd.DataFrame:
    return split[split.after == split.after.max()]


def _means(ax: Axes, split: pd.DataFrame) -> None:
    last = _last(split)
    for method in (m for m in OF_METHOD if m in set(last.method)):
        s = Sample.of(last[last.method == method].groupby("seed").accuracy.mean().tolist())
        ax.barh(f"{NAMES[method]} ({s.n})", s.mean, xerr=s.standard_error if s.n > 1 else 0, color=OF_METHOD[method])
    ax.invert_yaxis()
    ax.set(xlabel="mean accuracy over tasks", xlim=(0.6, 1.0), title="Split MNIST (number of seeds)")


def _each_task(ax: Axes, split: pd.DataFrame) -> None:
    last = _last(split)
    methods = [m for m in OF_METHOD if m in set(last.method)]
    for i, method in enumerate(methods):
        of = last[last.method == method].groupby("task").accuracy.agg(["mean", "sem"])
        at = of.index + (i - (len(methods) - 1) / 2) * 0.16
        ax.bar(at, of["mean"], 0.15, yerr=of["sem"].fillna(0), color=OF_METHOD[method], label=NAMES[method])
    ax.set(xlabel="task of Split MNIST", ylabel="accuracy after the last task", ylim=(0, 1.35))
    ax.legend(ncols=2, fontsize=6.5)


def _course(ax: Axes, over: pd.DataFrame, value: str, words: str) -> None:
    for colour, (benchmark, of) in zip((ORANGE, BLUE), over.groupby("benchmark", sort=False), strict=False):
        by_task = of.groupby("task")[value].agg(["mean", "sem"])
        ax.errorbar(by_task.index, by_task["mean"], by_task["sem"].fillna(0), color=colour, marker="o", label=benchmark)
    ax.set(xlabel="tasks learned", ylabel=words)
    ax.legend()
