"""How runs went, as curves with bands: accuracy on each task, loss, or any figure over the segments of training."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.cli.choose import sort_key
from pipeline.cli.option_docs import show_value
from pipeline.records.repeat import all_options
from pipeline.records.row import Row
from pipeline.report.drawing import BLACK, BLUE, GREEN, GREY, LOOK, ORANGE, SKY, Picture, plt
from pipeline.report.statistics import Sample
from presyn import PresynError
from presyn.options import reject_unknown

Series = list[float]
"""A value after each segment, nan where there is none."""
COLOURS = (ORANGE, BLUE, GREEN, BLACK, SKY, GREY)
LINES = ("-", "--", ":")
MOST_CURVES = len(COLOURS) * len(LINES)
"""More cannot be told apart."""
PANELS_IN_A_ROW = 5
MOST_MARKED = 15
"""Points of a curve that are marked; the markers of more would hide it."""
COURSES = ("accuracy", "mean_accuracy", "loss")
"""What every run has a course of; its figures come after these."""


@dataclass(frozen=True)
class Curve:
    """Runs that are drawn as one.

    Attributes:
        label: What tells them from the others.
        runs: How many they are.
        samples: Title of a panel -> a sample over the runs after each segment.
    """

    label: str
    runs: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)


def make_curves(rows: Sequence[Row], figure: str, group: Sequence[str] | None = None) -> list[Curve]:
    """The curves of some runs.

    Args:
        rows: Their rows.
        figure: One of COURSES, or the name of a figure.
        group: Options that tell the curves apart; None takes all in which runs of a method on a benchmark differ, but the seed.

    Raises:
        PresynError: there is nothing to draw, or more curves than can be told apart.
    """
    if not rows:
        raise PresynError("No finished run in the store is of that kind: presyn list shows those that there are.")
    options = {row.run_id: all_options(row.config) for row in rows}
    if group is None:
        group = _differing(list(options.values()))
    reject_unknown(group, {name for values in options.values() for name in values}, "option of these runs")
    courses = {row.run_id: _courses(row, figure) for row in rows}
    if not any(courses.values()):
        _refuse_figure(rows, figure)
    groups: dict[str, list[dict[str, Series]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: [sort_key(options[row.run_id].get(name)) for name in group]):
        if courses[row.run_id]:  # not every method has every figure, and rows of old files have no loss
            groups[_label(options[row.run_id], group)].append(courses[row.run_id])
    if len(groups) > MOST_CURVES:
        raise PresynError(
            f"That is {len(groups)} curves, and {MOST_CURVES} can be told apart. The runs differ in {', '.join(group)}: name "
            "fewer of these with --group, or choose fewer runs."
        )
    return [Curve(label, len(members), _samples(members)) for label, members in groups.items()]


def _differing(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Method and benchmark where there are several, and options in which runs of one method on one benchmark differ."""
    kinds: dict[tuple, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for options in configurations:
        for name, value in options.items():
            kinds[options["method"], options["benchmark"]][name].add(repr(value))
    several = [name for i, name in enumerate(("method", "benchmark")) if len({kind[i] for kind in kinds}) > 1]
    differing = {name for values in kinds.values() for name, shown in values.items() if len(shown) > 1}
    return several + sorted(differing - {"seed"})


def _label(options: Mapping[str, Any], group: Sequence[str]) -> str:
    """What a run is called by the options of a group; by method and benchmark without any."""
    parts = [
        str(options[n]) if n in ("method", "benchmark") else f"{n}={show_value(options[n])}" for n in group if n in options
    ]
    return ", ".join(parts) or f"{options['method']} on {options['benchmark']}"


def _samples(courses: Sequence[dict[str, Series]]) -> dict[str, list[Sample]]:
    """Title of a panel -> a sample over runs after each segment."""
    samples: dict[str, list[Sample]] = {}
    for title in dict.fromkeys(title for course in courses for title in course):
        several = [course[title] for course in courses if title in course]
        values = [[c[i] for c in several if i < len(c) and not math.isnan(c[i])] for i in range(max(map(len, several)))]
        samples[title] = [Sample.from_values(v) for v in values]
    return samples


def _courses(row: Row, figure: str) -> dict[str, Series]:
    """Title of a panel -> the course of a run; an empty title where there is one panel, no title where there is no course."""
    record = row.record
    if figure == "accuracy":
        tasks = range(len(record.accuracy[-1])) if record.accuracy else ()
        earlier = [math.nan] * _tasks_before(row)
        return {f"task {j + 1}": [*earlier, *(_number(tested[j]) for tested in record.accuracy)] for j in tasks}
    if figure == "mean_accuracy":
        return {"": _means(record.accuracy, _tasks_before(row))} if record.accuracy else {}
    values = record.loss if figure == "loss" else record.figures.get(figure)
    if not values or isinstance(values[-1], list):
        return {}
    was_kept = any(not math.isnan(v) for v in values[:-1]) or len(values) == 1  # rows of old files have the last value alone
    return {"": values} if was_kept else {}


def _refuse_figure(rows: Sequence[Row], figure: str) -> None:
    """Say why no run has a course of a figure.

    Raises:
        PresynError: always.
    """
    names = {name for row in rows for name, v in row.record.figures.items() if not isinstance(v[-1], list)}
    reject_unknown([figure], [*COURSES, *names], "figure of these runs")
    raise PresynError(f"The rows of these runs came without the course of {figure}: train them again with --fresh.")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _tasks_before(row: Row) -> int:
    """Tasks that are learned before the first test: joint training is tested once, after all of them."""
    accuracy = row.record.accuracy
    return len(accuracy[-1]) - len(accuracy) if accuracy and row.status == "finished" else 0


def _means(accuracy: Sequence[Sequence[float | None]], before: int) -> Series:
    """Mean accuracy over the tasks so far after each of them; nan where not all of these were tested (`tests=new`).

    Args:
        accuracy: A list for each test, with a number for each task.
        before: Tasks that are learned before the first test.
    """
    means = []
    for number, tested in enumerate(accuracy, start=before + 1):
        values = [a for a in tested if a is not None]
        means.append(sum(values) / len(values) if len(values) >= number else math.nan)
    return [math.nan] * before + means


def draw_curves(curves: Sequence[Curve], figure: str) -> Picture:
    """The curves as a picture, a panel for each title."""
    titles = list(dict.fromkeys(title for curve in curves for title in curve.samples))
    columns = min(PANELS_IN_A_ROW, len(titles))
    lines = math.ceil(len(titles) / columns)

    def draw() -> Figure:
        with plt.rc_context(LOOK):
            width, height = (4.6, 3.2) if columns == 1 else (2.1 * columns + 0.6, 2.2 * lines + 0.5)
            drawn, axes = plt.subplots(
                lines, columns, figsize=(width, height), squeeze=False, sharex=True, sharey=True, layout="constrained"
            )
            for ax, title in zip(axes.flat, titles, strict=False):
                _draw_panel(ax, curves, title)
            for ax in axes.flat[len(titles) :]:
                ax.axis("off")
            drawn.supxlabel(_x_label(figure), fontsize=LOOK["axes.labelsize"])
            drawn.supylabel(figure.replace("_", " "), fontsize=LOOK["axes.labelsize"])
            drawn.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=min(3, columns + 1))
        return drawn

    return Picture(draw, dpi=200, look=LOOK)


def _x_label(figure: str) -> str:
    return "tasks learned" if figure in ("accuracy", "mean_accuracy") else "segments trained (tasks, or epochs)"


def _draw_panel(ax: Axes, curves: Sequence[Curve], title: str) -> None:
    """Means, and a band of one standard error where there are several runs."""
    for number, curve in enumerate(curves):
        samples = curve.samples.get(title, [])
        x = [i + 1 for i, sample in enumerate(samples) if sample.n]
        means = [sample.mean for sample in samples if sample.n]
        errors = [sample.standard_error if sample.n > 1 else 0.0 for sample in samples if sample.n]
        look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number // len(COLOURS)]}
        ax.plot(x, means, marker="o" if len(x) <= MOST_MARKED else "", label=f"{curve.label} ({curve.runs})", **look)
        below, above = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1))
        ax.fill_between(x, below, above, color=look["color"], alpha=0.2, linewidth=0)
    ax.set_title(title)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
