"""Pictures of a search: the best value against the work that it took, and the front of several objectives."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from pipeline.experiments.search.course import Course
from pipeline.report.drawing import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, Picture, panels
from sweeps.space import Space

COLOURS = {"random": BLACK, "grid": BLACK, "qmc": GREEN, "tpe": BLUE, "tpe, halving": ORANGE, "gp": SKY, "cmaes": SKY}
Curve = Sequence[tuple[float, float]]
"""Points of work, in runs that are trained to their end, and the best value so far."""


def best_so_far(course: Course) -> list[tuple[float, float]]:
    """The best value after each trial that ended, in their order, against the work of all up to it.

    Work is counted in network steps, and its unit is a run that is trained to its end, in which tasks count alike.
    """
    space = course.space
    better = max if space.direction == "maximize" else min
    work, curve = 0.0, list[tuple[float, float]]()
    for trial in course.ended:
        outcome = course.outcomes[trial.number]
        work += space.seeds * course.trained[trial.number] / space.tasks
        if outcome.status == "finished":
            value = outcome.values[0]
            curve.append((work, better(value, curve[-1][1]) if curve else value))
        elif curve:
            curve.append((work, curve[-1][1]))
    return curve


def draw_progress(curves: Mapping[str, Curve], space: Space, several: Mapping[str, Sequence[Curve]] | None = None) -> Picture:
    """Best value against work.

    Args:
        curves: Name -> a curve, drawn thick.
        space: Whose objective it is.
        several: Name -> curves of single searches, drawn thin behind.
    """
    scale = 100 if space.objective in ("mean_accuracy", "forgetting") else 1

    def draw(ax: Axes) -> None:
        for name, lines in (several or {}).items():
            for line in lines:
                ax.step(*_points(line, scale), where="post", color=COLOURS.get(name, GREY), linewidth=0.6, alpha=0.6)
        for name, line in curves.items():
            ax.step(*_points(line, scale), where="post", color=COLOURS.get(name, ORANGE), label=name)
        unit = " in %" if space.objective == "mean_accuracy" else " in points" if scale == 100 else ""
        objective = space.objective.replace("_", " ")
        ax.set(xlabel="network steps, in whole runs", ylabel=f"best {objective} on validation data{unit}")
        if len(curves) > 1:
            ax.legend()

    return panels(draw, width=4.6, height=3.0)


def _points(curve: Curve, scale: float) -> tuple[list[float], list[float]]:
    return [work for work, _ in curve], [scale * value for _, value in curve]


def draw_front(table: pd.DataFrame, space: Space) -> Picture:
    """Two objectives of all trials that finished against each other, and the front; with more, the first two."""
    x, y = space.objectives[1], space.objectives[0]
    finished = table[table.status == "finished"]
    front = finished[finished.front].sort_values([x, y])

    def draw(ax: Axes) -> None:
        ax.plot(finished[x], finished[y], "o", color=GREY, markersize=3, label="trials")
        ax.plot(front[x], front[y], "o-", color=ORANGE, label="the front")
        ax.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
        ax.legend()

    return panels(draw, width=4.6, height=3.0)
