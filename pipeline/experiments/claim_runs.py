"""The runs behind a claim, trained again: the same configurations and seeds, as its verdict names them."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.records.csvs import read_file
from pipeline.records.results import Results
from pipeline.records.row import Row
from pipeline.stage import Known, Made, Stage, Wish
from presyn import PresynError
from presyn.options import reject_unknown


@dataclass(frozen=True, eq=False)
class ClaimRuns(Stage):
    """The runs that the verdict on a claim rests on.

    Attributes:
        claim: Its id, such as E2.
        rows: Of these runs, as they are under the results folder.
    """

    claim: str
    rows: tuple[Row, ...]
    shows_lost = True

    @classmethod
    def of_claim(cls, claim: str, folder: Path) -> "ClaimRuns":
        """The runs behind a claim, by the rows under a folder.

        Raises:
            PresynError: there is no such claim, or no runs behind it; or there are no rows.
        """
        from pipeline.experiments.catalogue import CLAIMING
        from pipeline.experiments.verdicts.stage import all_verdicts

        results = Results(folder)
        if not list(results.paths()):
            raise PresynError(
                f"There are no rows under {folder}, so no claim rests on any. Give the command in a checkout, or point "
                "--results at the folder results of one."
            )
        claims = {c.claim.id: c for c in all_verdicts(results, CLAIMING).claims}
        reject_unknown([claim], claims, "claim")
        ids = set(claims[claim].run_ids)
        if not ids:
            raise PresynError(f"There are no runs behind the claim {claim} under {folder}: {claims[claim].note}.")
        rows = {row.run_id: row for path in results.paths() for row in read_file(path).rows if row.run_id in ids}
        return cls(claim, tuple(rows[run_id] for run_id in sorted(rows)))

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"claim-{self.claim}"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"the runs behind claim {self.claim}"

    def ask(self, known: Known) -> list[Wish]:
        return [] if known.rows else [Wish(row.run()) for row in self.rows]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        return Made(shown=frame[["method", "benchmark", "seed", "status", "mean_accuracy", "run_id"]])

    def folder(self, results: Path) -> Path:
        return results / "claims" / self.claim

    def file(self, results: Path) -> Path | None:
        return None
