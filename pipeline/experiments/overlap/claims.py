"""Claim M1: with plastic release two tasks freeze fewer synapses in common than without it."""

from collections.abc import Iterator

import pandas as pd

from pipeline.experiments.overlap.summary import COMPARED_ON, VARIANTS, overlap_of, summarise
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed, with_lost
from pipeline.report.verdicts import Verdict, order

FAMILY, READINGS = "lifelong", "lifelong, other readings"
NOT_BY_CHANCE = "not corrected for how many are frozen"
FULL, *CONTROLS = VARIANTS


def overlap_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on the claim: the overlap of each control over that of the full rule."""
    rows = results.rows("overlap", ("variant",))
    summary = None if rows is None else with_lost(summarise(rows), rows, ("variant", "benchmark", "seed"))
    for measure, name, reading in (("overlap", "overlap relative to chance", ""), ("jaccard", "Jaccard index", NOT_BY_CHANCE)):
        parts = {f"{control} on {b}": _over_full(summary, control, b, measure) for b in COMPARED_ON for control in CONTROLS}
        claim = f"{name} of tasks learned one by one, control over full rule"
        yield order("M1", claim, READINGS if reading else FAMILY, parts, "ratio", reading=reading)


def _over_full(summary: pd.DataFrame | None, control: str, benchmark: str, measure: str) -> BySeed:
    """The logarithm of the overlap of a control over that of the full rule, by seed; none where nothing was frozen."""
    if summary is None:
        return BySeed()
    return overlap_of(summary, control, benchmark, measure).log_ratio(overlap_of(summary, FULL, benchmark, measure))
