"""Claims A1 to A5: ablations and the ghost control (Fig. 5a); L28 and L31: the continuous benchmark of the departures."""

from collections.abc import Iterator

import pandas as pd

from pipeline.experiments.ablations.variants import FULL, RELEASED
from pipeline.experiments.table1.claims import compare, printed_mean_of
from pipeline.experiments.table1.rows import COLUMNS, NO_ROWS, accuracies
from pipeline.paper import METHOD_NAMES, SEARCHED_ON
from pipeline.paper.margins import accuracy_margin
from pipeline.paper.published import statements
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed
from pipeline.report.verdicts import Verdict, order

FAMILY, READINGS = "ablations", "ablations, other readings"
BENCHMARKS = ("split-mnist", "permuted-mnist")
"""The benchmarks of Fig. 5a."""
WITHOUT, GHOST = "no-consolidation", "ghost-by-release"
"""The two ablations of Fig. 5a: without modulated rate and freezing, and the ghost control by the printed rule."""
FURTHER = ("no-freezing", "no-lr-modulation", "no-normalisation")
"""Ablations of the authors' scripts that the figure does not show."""
TRANSITIONS_THAT_DECIDE = "transitions as in Zeno et al."
"""Those of the reading of the continuous benchmark by which claims are decided."""
RELEASED_GHOST, AS_RELEASED = "ghost", "ghost control as in the released code"


def ablation_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on the ablations: with parameters searched again, and with the authors' as a reading."""
    for stage, reading in (("ablations/searched", ""), ("ablations/published", "the authors' parameters")):
        rows = results.rows(stage, [*COLUMNS, "ablation"])
        without = {f"on {b}": _loss(rows, FULL, WITHOUT, b) - accuracy_margin(b) for b in BENCHMARKS}
        claim = "accuracy lost without both mechanisms, beyond half the printed lead"
        yield order("A1", claim, READINGS if reading else FAMILY, without, "points", reading=reading)
        for ghost, name in ((GHOST, reading), (RELEASED_GHOST, f"{reading}, {AS_RELEASED}".removeprefix(", "))):
            family = READINGS if name else FAMILY
            losses = {f"{variant} on {b}": _loss(rows, FULL, variant, b) for b in BENCHMARKS for variant in (WITHOUT, ghost)}
            yield order("A4", "accuracy lost by both ablations", family, losses, "points", reading=name)
            left = {f"on {b}": _loss(rows, ghost, WITHOUT, b) for b in BENCHMARKS}
            yield order("A5", "ghost control above no consolidation", family, left, "points", reading=name)
        more = {f"{variant} on {b}": _loss(rows, FULL, variant, b) for b in BENCHMARKS for variant in FURTHER}
        name = f"{reading}, three further ablations".removeprefix(", ")
        yield order("A4", "accuracy lost by each of three further ablations", READINGS, more, "points", reading=name)


def _loss(rows: pd.DataFrame | None, variant: str, ablated: str, benchmark: str) -> BySeed:
    """Points of accuracy by which one variant lies below another, by seed."""
    if rows is None:
        return BySeed()
    more, less = (accuracies(rows, name, benchmark, "ablation") for name in (variant, ablated))
    return more - less


def ghost_verdicts(results: Results) -> Iterator[Verdict]:
    """The printed sizes and orders of the ghost control, on rows with the published parameters."""
    # Of all of Fig. 5a, and of those that were run again with more seeds by --off.
    paths = sorted(results.folder.glob("ablations*/published/runs.csv"))
    rows = pd.concat([NO_ROWS, *(results.file(path, [*COLUMNS, "ablation"]) for path in paths)], ignore_index=True)
    for statement in statements():
        if statement.subject not in METHOD_NAMES and statement.kind != "mean":
            yield compare(statement, rows, "ablation")


def continuous_verdicts(results: Results) -> Iterator[Verdict]:
    """The printed mean on the continuous benchmark, by both readings of its transitions, and how far abrupt ones lie off."""
    rows = results.rows("departures", [*COLUMNS, "ablation"])
    rows = NO_ROWS if rows is None else rows
    abrupt = accuracies(rows, RELEASED, SEARCHED_ON, "ablation")
    for statement in statements():
        if statement.kind == "mean":
            values = accuracies(rows, statement.subject, statement.benchmark, "ablation")
            yield printed_mean_of(statement, values)
            name = f"continuous minus abrupt permuted-mnist, {statement.reading or TRANSITIONS_THAT_DECIDE}"
            parts = {"": values - abrupt}
            yield order(
                "L31", name, FAMILY if not statement.reading else READINGS, parts, "points", kind="similar",
                reading=statement.reading, margin=accuracy_margin(SEARCHED_ON),
            )  # fmt: skip
