"""Claims A1 to A4: ablations and the ghost control (Fig. 5a); and L28: the continuous benchmark, which the departures train."""

from collections.abc import Iterator

import pandas as pd

from pipeline.experiments.ablations.variants import FULL
from pipeline.experiments.table1.claims import compare, printed_mean_of
from pipeline.experiments.table1.rows import COLUMNS, NO_ROWS, accuracies
from pipeline.paper import METHOD_NAMES
from pipeline.paper.published import statements
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed
from pipeline.report.verdicts import MARGIN, Verdict, order

FAMILY, READINGS = "ablations", "ablations, other readings"
ABLATED = ("no-freezing", "no-lr-modulation", "no-consolidation", "ghost", "no-normalisation")
"""Of Fig. 5a; the ghost control is as the released code has it."""
BENCHMARKS = ("split-mnist", "permuted-mnist")
"""Of Fig. 5a."""


def ablation_verdicts(results: Results) -> Iterator[Verdict]:
    """What is found on the ablations: with parameters searched again, and with the authors' as a reading."""
    for stage, reading in (("ablations/searched", ""), ("ablations/published", "the authors' parameters")):
        rows = results.rows(stage, [*COLUMNS, "ablation"])
        losses = {f"{variant} on {b}": _loss(rows, variant, b) for b in BENCHMARKS for variant in ABLATED}
        without = {name: loss - MARGIN for name, loss in losses.items() if name.startswith("no-consolidation ")}
        family = READINGS if reading else FAMILY
        yield order("A1", f"points lost without both mechanisms, beyond {MARGIN:g}", family, without, reading=reading)
        yield order("A4", "points lost by each ablation", family, losses, reading=reading)


def _loss(rows: pd.DataFrame | None, variant: str, benchmark: str) -> BySeed:
    """Points of accuracy that an ablation costs, by seed."""
    if rows is None:
        return BySeed()
    full, ablated = (accuracies(rows, name, benchmark, "ablation") for name in (FULL, variant))
    return (full - ablated).without_lost()


def ghost_verdicts(results: Results) -> Iterator[Verdict]:
    """The printed sizes and orders of the ghost control, on rows with the published parameters."""
    # Of all of Fig. 5a, and of those that were run again with more seeds by --off.
    paths = sorted(results.folder.glob("ablations*/published/runs.csv"))
    rows = pd.concat([NO_ROWS, *(results.file(path, [*COLUMNS, "ablation"]) for path in paths)], ignore_index=True)
    for statement in statements():
        if statement.subject not in METHOD_NAMES and statement.kind != "mean":
            yield compare(statement, rows, "ablation")


def continuous_verdicts(results: Results) -> Iterator[Verdict]:
    """The printed mean on the continuous benchmark, in both readings of its transitions."""
    rows = results.rows("departures", [*COLUMNS, "ablation"])
    for statement in statements():
        if statement.kind == "mean":
            values = accuracies(NO_ROWS if rows is None else rows, statement.subject, statement.benchmark, "ablation")
            yield printed_mean_of(statement, values)
