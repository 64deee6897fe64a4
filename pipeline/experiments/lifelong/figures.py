"""Fig. 4b, 4c, appendix 3a and 3b as ours. Bars: standard error over seeds."""

import pandas as pd
from matplotlib.axes import Axes

from pipeline.paper import METHOD_NAMES
from pipeline.report.drawing import BLUE, METHOD_COLOURS, ORANGE, Picture, panels
from pipeline.report.statistics import Sample

SPLIT = "split-mnist"
"""The benchmark of Fig. 4 and appendix 3a."""


def draw_lifelong(course: pd.DataFrame, tasks: pd.DataFrame) -> dict[str, Picture]:
    """Fig. 4b, 4c, appendix 3a and 3b.

    Args:
        course: As `summary.course_of_p` makes it.
        tasks: As `summary.accuracy_by_task` makes it.
    """
    split = tasks[tasks.benchmark == SPLIT]
    return {
        "fig4b": panels(lambda ax: _draw_first_task(ax, split)),
        "fig4c": panels(lambda ax: _draw_means(ax, split), width=4.4),
        "appendix3a": panels(lambda ax: _draw_each_task(ax, split), width=4.6),
        "appendix3b": panels(
            lambda ax: _draw_course(ax, course, "mean_p", "mean release probability"),
            lambda ax: _draw_course(ax, course, "frozen", "share of frozen synapses"),
        ),
    }


def _draw_first_task(ax: Axes, split: pd.DataFrame) -> None:
    for method in ("presynaptic", "sgd"):
        accuracies = split[(split.method == method) & (split.task == 1)].groupby("after").accuracy.agg(["mean", "sem"])
        ax.errorbar(
            accuracies.index, accuracies["mean"], accuracies["sem"].fillna(0), color=METHOD_COLOURS[method], marker="o",
            label=METHOD_NAMES[method],
        )  # fmt: skip
    ax.set(xlabel="tasks learned", ylabel="accuracy on task 1", title="Split MNIST")
    ax.set_xticks(sorted(split.after.unique()))
    ax.legend()


def _after_last_task(split: pd.DataFrame) -> pd.DataFrame:
    return split[split.after == split.after.max()]


def _draw_means(ax: Axes, split: pd.DataFrame) -> None:
    last = _after_last_task(split)
    for method in (m for m in METHOD_COLOURS if m in set(last.method)):
        sample = Sample.from_values(last[last.method == method].groupby("seed").accuracy.mean().tolist())
        error = sample.standard_error if sample.n > 1 else 0
        ax.barh(f"{METHOD_NAMES[method]} ({sample.n})", sample.mean, xerr=error, color=METHOD_COLOURS[method])
    ax.invert_yaxis()
    ax.set(xlabel="mean accuracy (bars start at 0.6)", xlim=(0.6, 1.0), title="Split MNIST (number of seeds)")


def _draw_each_task(ax: Axes, split: pd.DataFrame) -> None:
    last = _after_last_task(split)
    methods = [m for m in METHOD_COLOURS if m in set(last.method)]
    for i, method in enumerate(methods):
        accuracies = last[last.method == method].groupby("task").accuracy.agg(["mean", "sem"])
        places = accuracies.index + (i - (len(methods) - 1) / 2) * 0.16
        error = accuracies["sem"].fillna(0)
        ax.bar(places, accuracies["mean"], 0.15, yerr=error, color=METHOD_COLOURS[method], label=METHOD_NAMES[method])
    ax.set(xlabel="task of Split MNIST", ylabel="accuracy after the last task", ylim=(0, 1.35))
    ax.legend(ncols=2, fontsize=6.5)


def _draw_course(ax: Axes, course: pd.DataFrame, value: str, label: str) -> None:
    for colour, (benchmark, lines) in zip((ORANGE, BLUE), course.groupby("benchmark", sort=False), strict=False):
        by_task = lines.groupby("task")[value].agg(["mean", "sem"])
        ax.errorbar(by_task.index, by_task["mean"], by_task["sem"].fillna(0), color=colour, marker="o", label=benchmark)
    ax.set(xlabel="tasks learned", ylabel=label)
    ax.legend()
