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


def compare_winners(frame: pd.DataFrame, base: str) -> pd.DataFrame:
    """A line for each search but those of the base: its winner's accuracy on new seeds less that of the base's winner.

    Columns: sampler, sampler_seed, difference in points, paired over the new seeds, with difference_error, low and high (95 %)
    and n, the number of new seeds. It compares two winners; how good a sampler is shows in the differences of several searches.
    """
    lines = []
    finished = frame[frame.status == "finished"] if len(frame) else pd.DataFrame(columns=["sampler", "sampler_seed", "seed"])
    by_search = {key: 100 * rows.set_index("seed").mean_accuracy for key, rows in finished.groupby(["sampler", "sampler_seed"])}
    for (sampler, number), accuracies in by_search.items():
        if sampler == base or (base, number) not in by_search:
            continue
        values = (accuracies - by_search[base, number]).dropna().tolist()
        difference = paired(values)
        low, high = difference.interval()
        lines.append([sampler, number, difference.mean, difference.standard_error, low, high, len(values)])
    return pd.DataFrame(
        lines, columns=["sampler", "sampler_seed", "difference", "difference_error", "low", "high", "n"]
    )  # fmt: skip


def finding(table: pd.DataFrame, winners: pd.DataFrame, base: str) -> str:
    """What each sampler costs and finds beside the base, in a sentence each."""
    sentences = []
    reference = table[table.sampler == base]
    for row in table[(table.sampler != base) & table.difference.notna()].itertuples():
        its_winners = winners[winners.sampler == row.sampler]
        each = ", ".join(f"{line.difference:+.2f} [{line.low:+.2f}, {line.high:+.2f}]" for line in its_winners.itertuples())
        share = 100 * row.work / float(reference.work.iloc[0])
        sentences.append(
            f"{row.sampler} takes {share:.0f} % of the network steps of {base} search; on new seeds its winners are "
            f"{each} points from those of {base} search with the same sampler seed; "
            f"{row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}] over searches."
        )
    return " ".join([*sentences, "Brackets are 95 % intervals."]) if sentences else ""


def _by_search(frame: pd.DataFrame, sampler: str) -> pd.Series:
    """Sampler seed -> the mean accuracy of its winner over new seeds, in %."""
    if frame.empty:
        return pd.Series(dtype=float)
    rows = frame[(frame.sampler == sampler) & (frame.status == "finished")]
    return 100 * rows.groupby("sampler_seed").mean_accuracy.mean()
