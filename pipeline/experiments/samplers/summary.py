"""Numbers of the comparison of samplers, from rows alone."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.experiments.search.pictures import Curve
from pipeline.report.statistics import Sample, paired
from sweeps.space import Space


def curves_of(space: Space, rows: pd.DataFrame | None) -> Curve | None:
    """Best validation accuracy after each trial of a search against the work up to it, in whole runs; None without rows."""
    if rows is None:
        return None
    work, curve = 0.0, list[tuple[float, float]]()
    for _, lines in rows.groupby("trial"):
        tasks = lines.tasks if "tasks" in lines else pd.Series(space.tasks, lines.index)
        work += float(tasks.max()) / space.tasks
        ended = lines[(lines.status == "finished") & (tasks == space.tasks)]
        if len(ended):
            best = float(ended.mean_accuracy.iloc[0])
            curve.append((work, max(best, curve[-1][1]) if curve else best))
        elif curve:
            curve.append((work, curve[-1][1]))
    return curve or None


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over searches at each work that one of them has come to, as far as all of them go."""
    first, last = max(c[0][0] for c in curves), min(c[-1][0] for c in curves)
    points = sorted({work for c in curves for work, _ in c if first <= work <= last})
    return [(work, float(np.mean([value_at(c, work) for c in curves]))) for work in points]


def value_at(curve: Curve, work: float) -> float:
    """The best value of a search after so much work."""
    return max((value for at, value in curve if at <= work), default=math.nan)


def make_table(frame: pd.DataFrame, curves: Mapping[tuple[str, int], Curve], base: str) -> pd.DataFrame:
    """A line for each sampler, accuracies in %.

    Columns: sampler, searches, work (in whole runs), best (of the winner in its search), new_seeds (of the winners on new
    seeds) with new_seeds_error over searches and n of them, too_good (best less new seeds), difference (from the base with the
    same sampler seed), difference_error, low and high (95 %).

    Args:
        frame: The winners on new seeds.
        curves: (sampler, its seed) -> the course of its search.
        base: The sampler that the others are compared with.
    """
    lines = []
    for sampler in dict.fromkeys(name for name, _ in curves):
        its_curves = {number: curve for (name, number), curve in curves.items() if name == sampler}
        means, reference = _by_search(frame, sampler), _by_search(frame, base)
        new = Sample.from_values(means.tolist())
        differences = (means - reference).dropna().tolist() if sampler != base else []
        difference = paired(differences) if differences else None
        low, high = difference.interval() if difference else (math.nan, math.nan)
        best = 100 * float(np.mean([curve[-1][1] for curve in its_curves.values()]))
        lines.append(
            {
                "sampler": sampler,
                "searches": len(its_curves),
                "work": float(np.mean([curve[-1][0] for curve in its_curves.values()])),
                "best": best,
                "new_seeds": new.mean,
                "new_seeds_error": new.standard_error,
                "n": new.n,
                "too_good": best - new.mean,
                "difference": difference.mean if difference else math.nan,
                "difference_error": difference.standard_error if difference else math.nan,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(lines)


def _by_search(frame: pd.DataFrame, sampler: str) -> pd.Series:
    """Sampler seed -> the mean accuracy of its winner over new seeds, in %."""
    if frame.empty:
        return pd.Series(dtype=float)
    rows = frame[(frame.sampler == sampler) & (frame.status == "finished")]
    return 100 * rows.groupby("sampler_seed").mean_accuracy.mean()
