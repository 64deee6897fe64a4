"""Verdicts as a stage: it asks for no runs and reads the rows that other stages have exported."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.experiments.table1.rows import require_as_published
from pipeline.experiments.verdicts import rates
from pipeline.experiments.verdicts.by_claim import ClaimVerdict, by_claim, claim_table, claims_as_markdown, count, in_short
from pipeline.experiments.verdicts.paper_rows import PaperRows
from pipeline.paper.published import PAPER, READERS, SUMS, changed_files, claim_list
from pipeline.records.csvs import refuse_twice
from pipeline.records.results import Results
from pipeline.report.old_rule import with_old_verdicts
from pipeline.report.rule import NOTE, decide
from pipeline.report.verdicts import NOT_REPRODUCED, VERDICTS, Verdict, as_markdown, verdict_table
from pipeline.stage import Known, Made, Stage, Wish, refuse_labels
from presyn import PresynError

FAMILIES = (
    "Table 1 of the paper",
    "the authors' code",
    "further printed values",
    "statements",
    "statements, other readings",
    "energy",
    "energy, other readings",
    "sparsity",
    "sparsity, other readings",
    "lifelong",
    "lifelong, other readings",
    "ablations",
    "ablations, other readings",
    "perceptron",
    "perceptron, other readings",
)
"""In the order in which verdicts are listed; others follow."""


@dataclass(frozen=True)
class AllVerdicts:
    """Verdicts on every part and reading, and on every claim as a whole."""

    verdicts: Sequence[Verdict]
    claims: Sequence[ClaimVerdict]


@dataclass(frozen=True, eq=False)
class Verdicts(Stage):
    """Verdicts of the rows under a folder of results.

    Attributes:
        stages: Whose `verdicts` say what is found on the claims.
    """

    stages: tuple[type[Stage], ...]
    about = "Verdicts on the claims of the paper, made of rows."
    name = "verify"
    title = "verdicts"
    reads_results = True

    def ask(self, known: Known) -> list[Wish]:
        return []

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        assert known.results is not None
        _say_changed_paper()
        conclusions = all_verdicts(known.results, self.stages)
        table = verdict_table(conclusions.verdicts)
        files: dict[str, Any] = {
            "verdicts.csv": table,
            "verdicts.md": f"{as_markdown(conclusions.verdicts)}\n\n{NOTE}\n",
            "claims.csv": claim_table(conclusions.claims),
            "claims.md": claims_as_markdown(conclusions.claims),
        }
        spread = rates.spreads(known.results)
        if spread:
            simulated = rates.simulate(spread)
            files |= {
                "verdict-rates.csv": rates.over_cells(simulated),
                "verdict-rates.md": rates.as_markdown(simulated, spread),
            }
        metrics = {v.replace(" ", "_"): float((table.verdict == v).sum()) for v in VERDICTS}
        metrics |= {f"claims_{verdict.replace(' ', '_')}": float(n) for verdict, n in count(conclusions.claims).items()}
        return Made(conclusions, files, "verdicts.csv", metrics=metrics, message=in_short(conclusions.claims))

    def folder(self, results: Path) -> Path:
        return results


def _say_changed_paper() -> None:
    """Say which of the printed numbers and claims are not those that came along."""
    changed = changed_files(PAPER)
    if changed:
        print(
            f"presyn: {', '.join(changed)} in {PAPER} is not what {SUMS} there says, so verdicts may be others. If it was "
            f"changed on purpose: (cd {PAPER} && sha256sum *.csv *.yaml > {SUMS})",
            file=sys.stderr,
        )


def all_verdicts(results: Results, stages: Sequence[type[Stage]]) -> AllVerdicts:
    """All verdicts of the rows under a folder.

    Raises:
        PresynError: there are no rows at all, or they are not of runs, were changed, or mix settings.
    """
    for read in READERS:
        read(PAPER)
    if not results.paths():
        require_as_published(results)
    results = paper_rows(results)
    claims = claim_list()
    published = {claim.id: claim.published for claim in claims}
    unordered: Iterator[Verdict] = chain.from_iterable(stage.verdicts(results) for stage in stages)
    verdicts = [v if v.published != "–" else replace(v, published=published.get(v.id, "–")) for v in unordered]
    odd = [v.id for v in verdicts if v.id and v.id not in published]
    if odd:
        raise PresynError(f"A verdict is on {odd[0]}, which is no claim in results/paper/claims.yaml: add it there.")
    position = {family: i for i, family in enumerate(FAMILIES)}
    decided = decide(sorted(verdicts, key=lambda v: position.get(v.family, len(position))))
    decided = with_notes(with_old_verdicts(decided))
    return AllVerdicts(decided, by_claim(decided, claims))


def paper_rows(results: Results) -> PaperRows:
    """The rows on which claims are tested.

    Raises:
        PresynError: exported rows have labels that are not those of their configurations, or a run is there twice.
    """
    from pipeline.experiments.catalogue import claim_stages, shown_stages

    for stage in shown_stages():
        frame = results.rows(stage.name, stage.columns)
        if frame is not None:
            path = results.folder / stage.name / "runs.csv"
            refuse_labels(stage, refuse_twice(frame, stage.columns, path), path)
    return PaperRows(results, claim_stages())


def with_notes(decided: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts, each with a note on the cells of Table 1 that it rests on and that are not reproduced."""
    wrong = {v.cell for v in decided if v.decides and v.verdict == NOT_REPRODUCED}
    notes = [
        ", ".join(f"{method} on {b} is not reproduced" for method, b in v.rests_on if (method, b) in wrong) for v in decided
    ]
    return [replace(v, note=note) for v, note in zip(decided, notes, strict=True)]
