"""How far the synapses that tasks freeze are the same ones, from rows alone."""

from itertools import combinations
from math import fsum

import pandas as pd

from pipeline.experiments.ablations.variants import ABLATIONS, FULL
from pipeline.experiments.energy.summary import series_of
from pipeline.report.by_seed import BySeed
from pipeline.report.tables import with_errors

VARIANTS = {name: ABLATIONS[name] for name in (FULL, "ghost-by-release", "no-freezing")}
"""The full rule, the ghost control as printed, and the rule without freezing; with the same parameters."""
COMPARED_ON = ("split-mnist", "permuted-mnist")
"""Benchmarks of the ablations."""
CAPTION = (
    "Every task is learned from the same initial network. Share: synapses that a task freezes. Overlap: synapses that both "
    "tasks of a pair freeze, over what chance would give with these shares; 1 is chance. Jaccard: the same, over the synapses "
    "that either of them freezes. Mean ± standard error over seeds; "
    "without freezing, a synapse counts from the p on at which the full rule freezes it."
)


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """A line for each run that finished: variant, benchmark, seed, share, overlap, jaccard, run_id.

    The share is the mean over tasks. The overlap is the sum over pairs of tasks of the share of synapses that both freeze,
    over the sum of what independent sets of these shares would have in common. The Jaccard index is the same sum over that of
    the shares which either task of a pair freezes: it is not corrected for how many are frozen.
    """
    finished = frame[frame.status == "finished"]
    lines = []
    for row, series in zip(finished.itertuples(), series_of(finished), strict=True):
        (alone,), (together,) = series["frozen_by_task"], series["frozen_by_both"]
        by_chance = fsum(a * b for a, b in combinations(alone, 2))  # Python 3.12 adds otherwise than 3.11; fsum is exact
        overlap = fsum(together) / by_chance if by_chance else float("nan")
        either = fsum(a + b for a, b in combinations(alone, 2)) - fsum(together)
        jaccard = fsum(together) / either if either else float("nan")
        lines.append([row.variant, row.benchmark, row.seed, fsum(alone) / len(alone), overlap, jaccard, row.run_id])
    return pd.DataFrame(lines, columns=["variant", "benchmark", "seed", "share", "overlap", "jaccard", "run_id"])


def as_file(summary: pd.DataFrame) -> pd.DataFrame:
    """The lines as they are written to summary.csv; the runs behind them are in runs.csv."""
    return summary.drop(columns="run_id")


def by_variant(summary: pd.DataFrame) -> pd.DataFrame:
    """A line for each benchmark and variant: means and standard errors (ddof 1) over seeds, and n."""
    grouped = summary.groupby(["benchmark", "variant"], sort=False)
    names = ["share", "overlap", "jaccard"]
    table = pd.concat([grouped[names].mean(), grouped[names].sem().add_suffix("_error"), grouped.size().rename("n")], axis=1)
    return table.reset_index().round(6)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""
    return with_errors(table, ("benchmark", "variant", "n"), {"share": ".3f", "overlap": ".3f", "jaccard": ".3f"})


def overlap_of(summary: pd.DataFrame, variant: str, benchmark: str, measure: str = "overlap") -> BySeed:
    """The overlap of a variant on a benchmark, by seed, as one of the columns overlap and jaccard."""
    return BySeed.from_frame(summary[(summary.variant == variant) & (summary.benchmark == benchmark)], measure)
