"""Verdicts as a stage: it asks for no runs and reads the committed rows."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.records.csvs import read_rows, refuse_twice
from pipeline.report.claim_list import as_markdown as claims_as_markdown
from pipeline.report.claim_list import by_claim, claim_list, in_short
from pipeline.report.claims import COLUMNS, FOUR, NO_ROWS, verdicts
from pipeline.report.findings import Evidence
from pipeline.report.lifelong import tasks
from pipeline.report.verdicts import NOT_REPRODUCED, NOT_TESTED, NOTE, REPRODUCED, UNDECIDED, as_markdown
from pipeline.stage import Known, Made, Stage, Wish
from presyn import PresynError


@dataclass(frozen=True, eq=False)
class Verify(Stage):
    """Verdicts of the rows under a folder of results.

    Attributes:
        rows: With the published settings.
        ablations, departures: Of these studies, with published parameters.
        evidence: For the claims beyond Table 1 and the printed statements, as `evidence_of` gives it.
    """

    rows: pd.DataFrame
    ablations: pd.DataFrame
    departures: pd.DataFrame
    evidence: Evidence
    name = "verify"
    experiment = "verify"
    title = "verdicts"

    def ask(self, known: Known) -> list[Wish]:
        return []

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        table = verdicts(self.rows, self.ablations, self.departures, self.evidence)
        claims = by_claim(table, claim_list())
        files = {
            "verdicts.csv": table.round(4),
            "verdicts.md": f"{as_markdown(table)}\n\n{NOTE}\n",
            "claims.csv": claims.round(4),
            "claims.md": claims_as_markdown(claims),
        }
        words = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)
        metrics = {v.replace(" ", "_"): float((table.verdict == v).sum()) for v in words}
        metrics |= {f"claims_{v.replace(' ', '_')}": float((claims.verdict == v).sum()) for v in words}
        return Made(table, files, "verdicts.csv", metrics=metrics, words=in_short(claims))

    def folder(self, results: Path) -> Path:
        return results


def verify(results: Path) -> Verify:
    """The verdicts of the rows under a folder.

    Raises:
        PresynError: the rows are not there, are not of runs, or mix settings.
    """
    rows = as_published(results)
    if rows.empty:
        raise PresynError(f"{results} has no runs of a published cell to compare. Make some with: presyn table1")
    columns = [*COLUMNS, "ablation"]
    # Of all of Fig. 5a, and of those that were run again with more seeds by --off.
    ablations = [read_rows(p, columns) for p in sorted(results.glob("ablations*/published/runs.csv"))]
    departures = [read_rows(p, columns) for p in results.glob("departures/runs.csv")]
    studies, further = (pd.concat([NO_ROWS, *f], ignore_index=True) for f in (ablations, departures))
    return Verify(rows, studies, further, evidence_of(results, rows))


_OF_EPOCHS = ("model", "l2", "seed", "epoch", "energy", "information", "neuronal_energy")
_LONG = ("quantity", "layer", "model", "l2", "seed", "value")
NEEDED = {
    "energy": _OF_EPOCHS,
    "energy-settings": ("setting", *_OF_EPOCHS),
    "fixed-release": ("release", "seed", "per_energy"),
    "sparsity": _LONG,
    "uniform-start": _LONG,
    "perceptron": ("model", "seed", "patterns", "mean_accuracy", *(f"task1_after_{i}" for i in range(1, 6))),
    "lifelong": ("benchmark", "seed", "task", "mean_p", "frozen"),
    "release-data": ("r", "synapses"),
}
"""Stage -> the columns of its summary that claims are tested on."""
ABLATIONS = ("ablations/searched", "ablations/published")


def evidence_of(results: Path, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What the claims beyond Table 1 are tested on: summaries that stages have written, and rows; what is absent is left out.

    Raises:
        PresynError: a summary cannot be read.
    """
    table = read_rows(results / "table1" / "runs.csv", [*COLUMNS, "parameters"])
    found = {"rows": rows, "searched": table[table.parameters == "searched"], "tasks": tasks(rows)}
    for name in NEEDED:
        path = results / name / "summary.csv"
        if path.exists():
            found[name] = read_summary(path)
    for name in ABLATIONS:
        path = results / name / "runs.csv"
        if path.exists():
            found[name] = read_rows(path, [*COLUMNS, "ablation"])
    return found


def read_summary(path: Path) -> pd.DataFrame:
    """A CSV that a stage has written.

    Raises:
        PresynError: it is none.
    """
    again = f"Make it again with: presyn reproduce {path.parent.name}"
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as e:
        raise PresynError(f"{path} cannot be read ({e}). {again}") from None
    missing = [c for c in NEEDED[path.parent.name] if c not in frame]
    if missing:
        raise PresynError(f"{path} has no column {missing[0]}. {again}")
    return frame


def as_published(results: Path) -> pd.DataFrame:
    """Our runs with the published settings: of the table, and of further seeds where there are some.

    Raises:
        PresynError: the table's rows are not there.
    """
    path = results / "table1" / "runs.csv"
    if not path.exists():
        raise PresynError(f"{path} is missing. Make it with: presyn table1")
    table = refuse_twice(read_rows(path, [*COLUMNS, "parameters"]), ("run_id", "parameters"), path)
    table = table[table.parameters == "as_published"]
    further = [read_rows(p, COLUMNS) for p in sorted((results / "seeds").glob("*.csv"))]
    rows = pd.concat([table, *further], ignore_index=True).drop_duplicates("run_id")
    rows = rows[rows.benchmark.isin(FOUR)]
    for (method, benchmark), of in rows.groupby(["method", "benchmark"], sort=False):
        settings = [{**json.loads(r.config), "seed": None, "rules_version": r.rules_version} for r in of.itertuples()]
        odd = [r.run_id for r, s in zip(of.itertuples(), settings, strict=True) if s != settings[0]]
        if odd:
            raise PresynError(
                f"{results / 'seeds'}: run {odd[0]} of {method} on {benchmark} has other settings than run "
                f"{of.run_id.iloc[0]}, which would mix two experiments in a verdict. Move it out of there."
            )
    return rows
