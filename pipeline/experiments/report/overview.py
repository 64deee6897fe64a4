"""What holds and what does not, in a few sentences made of the verdicts, for the first screen of the page."""

from collections.abc import Sequence

import pandas as pd

from pipeline.experiments.table1.claims import BESIDE_AUTHORS
from pipeline.experiments.table1.rows import accuracies
from pipeline.experiments.verdicts.by_claim import ClaimVerdict
from pipeline.experiments.verdicts.conclusions import by_part
from pipeline.paper import BENCHMARK_NAMES, METHOD_NAMES, RULE
from pipeline.paper.published import authors_code, cell_ids, published_table
from pipeline.report.statistics import Sample, plus_minus
from pipeline.report.verdicts import NOT_REPRODUCED, REPRODUCED, show_effect

PER_ENERGY = ("E2", "E3")
"""The claims on information per energy."""
ALL_BENCHMARKS = "R1"
"""The claim whose parts are the leads over No Consolidation on the four benchmarks."""


def overview(claims: Sequence[ClaimVerdict], rows: pd.DataFrame) -> list[str]:
    """A sentence for each part of the paper, and some on Table 1.

    Args:
        claims: All of them.
        rows: Ours with the published settings; see `table1.rows.as_published`.
    """
    sentences = [_of_part(part, verdicts) for part, verdicts in by_part(claims).items() if part != "As a whole"]
    return [s for s in [*sentences, _energy(claims), _leads(claims), _cells(claims), _beside_authors(claims, rows)] if s]


def _of_part(part: str, verdicts: dict[str, list[ClaimVerdict]]) -> str:
    total = sum(map(len, verdicts.values()))
    others = [
        f"{verdict}: {', '.join(c.claim.id for c in chosen)}" for verdict, chosen in verdicts.items() if verdict != REPRODUCED
    ]
    return (
        f"{part}: {len(verdicts.get(REPRODUCED, ()))} of {total} claims are reproduced"
        + "".join(f"; {o}" for o in others)
        + "."
    )


def _energy(claims: Sequence[ClaimVerdict]) -> str:
    """How much more information for each unit of energy plastic release has."""
    chosen = [c for c in claims if c.claim.id in PER_ENERGY and c.shown is not None]
    listed = "; ".join(f"{c.shown.comparison} ({c.claim.id}): {c.brief}" for c in chosen if c.shown)
    return f"{listed[0].upper()}{listed[1:]}." if listed else ""


def _leads(claims: Sequence[ClaimVerdict]) -> str:
    """By how much the rule is above No Consolidation, on each benchmark."""
    whole = next((c for c in claims if c.claim.id == ALL_BENCHMARKS and c.shown is not None), None)
    if whole is None or whole.shown is None:
        return ""
    leads = [(name, d.mean, *d.interval(whole.shown.level)) for name, d in whole.shown.parts.items()]
    each = ", ".join(
        f"{mean:.1f} [{low:.1f}, {high:.1f}] on {BENCHMARK_NAMES.get(name, name)}" for name, mean, low, high in leads
    )
    return f"{METHOD_NAMES[RULE]} minus {METHOD_NAMES['sgd']}, in points of accuracy ({ALL_BENCHMARKS}): {each}."


def _cells(claims: Sequence[ClaimVerdict]) -> str:
    """Which cells of Table 1 are not reproduced, by method."""
    by_id, ids = {c.claim.id: c for c in claims}, cell_ids()
    wrong = {cell: id for cell, id in ids.items() if id in by_id and by_id[id].verdict == NOT_REPRODUCED}
    by_method = [(METHOD_NAMES[m], [id for (method, _), id in wrong.items() if method == m]) for m in METHOD_NAMES]
    listed = "; ".join(f"{name} {', '.join(chosen)}" for name, chosen in by_method if chosen)
    return f"Of the {len(ids)} cells of Table 1, {len(wrong)} are not reproduced: {listed}." if wrong else ""


def _beside_authors(claims: Sequence[ClaimVerdict], rows: pd.DataFrame) -> str:
    """How far the authors' own code, run again, is off from the print where ours is, and where ours is off from that code."""
    by_id, ids = {c.claim.id: c for c in claims}, cell_ids()
    lines = []
    for cell in [cell for cell in ids if cell in authors_code()]:
        claim, ours, theirs = by_id.get(ids[cell]), accuracies(rows, *cell).finished, authors_code()[cell]
        if claim is not None and claim.verdict == NOT_REPRODUCED and ours:
            printed = published_table()[cell].mean
            lines.append(f"{claim.claim.id} {_off(theirs, printed)} (ours {_off(Sample.from_values(ours), printed)})")
    listed = ", ".join(lines)
    apart = [
        f"{claim.claim.id} {show_effect(v)}, against {v.printed:.2f}"
        for claim in claims
        for v in claim.readings
        if v.reading == BESIDE_AUTHORS and v.verdict == NOT_REPRODUCED
    ]
    text = f"In these cells the authors' code, run again, is off from the print by points: {listed}." if lines else ""
    return f"{text} Ours differs from that code in {', '.join(apart)}." if apart else text


def _off(sample: Sample, printed: float) -> str:
    """How far a mean is from the printed one, with its standard error and the number of seeds."""
    return f"{plus_minus(sample.mean - printed, sample.standard_error, '+.1f', '.1f')}, n = {sample.n}"
