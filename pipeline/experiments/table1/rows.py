"""The rows of Table 1 that claims are tested on: with the published settings, further seeds of these, and searched ones."""

import json
from pathlib import Path

import pandas as pd

from pipeline.paper import BENCHMARKS
from pipeline.records.csvs import refuse_twice
from pipeline.records.results import Results
from pipeline.report.by_seed import BySeed
from presyn import METHODS, PresynError, make_run

COLUMNS = (
    "method",
    "benchmark",
    "seed",
    "status",
    "mean_accuracy",
    "run_id",
    "config",
    "rules_version",
    "data_sha256",
    "accuracy",
)
NO_ROWS = pd.DataFrame(columns=["ablation", "parameters", *COLUMNS])


SEEDS, SEARCHED_SEEDS = "seeds", "seeds/searched"
"""Folders of further seeds, with the published settings and with searched ones."""


def table_path(results: Results) -> Path:
    return results.folder / "table1" / "runs.csv"


def table_rows(results: Results) -> pd.DataFrame:
    """All rows of the table; none if it is not there."""
    rows = results.rows("table1", [*COLUMNS, "parameters"])
    return NO_ROWS if rows is None else refuse_twice(rows, ("run_id", "parameters"), table_path(results))


def searched(results: Results) -> pd.DataFrame:
    """Our runs with parameters searched on one benchmark and carried over: of the table, and of further seeds in the folder
    seeds/searched where there are some.

    Raises:
        PresynError: two runs of a cell have different settings.
    """
    rows = table_rows(results)
    return _with_further_seeds(rows[rows.parameters == "searched"], results, SEARCHED_SEEDS)


def strict(results: Results) -> pd.DataFrame:
    """Runs of the table with all that a search found carried over, eta0 too."""
    rows = table_rows(results)
    return rows[(rows.parameters == "strict") & rows.benchmark.isin(BENCHMARKS)]


def as_published(results: Results) -> pd.DataFrame:
    """Our runs with the published settings: of the table, and of further seeds in the folder seeds where there are some.

    Raises:
        PresynError: two runs of a cell have different settings.
    """
    rows = table_rows(results)
    return _with_further_seeds(rows[rows.parameters == "as_published"], results, SEEDS)


def _with_further_seeds(table: pd.DataFrame, results: Results, folder: str) -> pd.DataFrame:
    further = [results.file(path, COLUMNS) for path in sorted((results.folder / folder).glob("*.csv"))]
    rows = pd.concat([table, *further], ignore_index=True) if further else table
    rows = rows.drop_duplicates("run_id")
    rows = rows[rows.benchmark.isin(BENCHMARKS)]
    for (method, benchmark), cell in rows.groupby(["method", "benchmark"], sort=False):
        versions = cell[["rules_version", "data_sha256"]].to_dict("records")
        settings = [{**json.loads(c), "seed": None, **v} for c, v in zip(cell.config, versions, strict=True)]
        different = [r.run_id for r, s in zip(cell.itertuples(), settings, strict=True) if s != settings[0]]
        if different:
            raise PresynError(
                f"{results.folder / folder}: run {different[0]} of {method} on {benchmark} has other settings than run "
                f"{cell.run_id.iloc[0]}, which would mix two experiments in a verdict. Move it out of there."
            )
        if folder == SEEDS and method in METHODS and benchmark in METHODS[method].published:
            published = make_run(method, benchmark, 0).options.as_dict()
            if any(settings[0].get(name) != value for name, value in published.items()):
                raise PresynError(
                    f"{results.folder / folder}: run {cell.run_id.iloc[0]} of {method} on {benchmark} has other settings than "
                    f"the published ones. Move it out of there, such as to {SEARCHED_SEEDS}."
                )
    return rows


def require_as_published(results: Results) -> None:
    """Raise a PresynError where the table has no rows that a published cell can be compared with."""
    if not table_path(results).exists():
        raise PresynError(f"{table_path(results)} is missing. Make it with: presyn table1 --results {results.folder}")
    if as_published(results).empty:
        raise PresynError(
            f"{results.folder} has no runs of a published cell to compare. Make some with: presyn table1 --results "
            f"{results.folder}"
        )


def accuracies(rows: pd.DataFrame, name: str, benchmark: str, column: str = "method") -> BySeed:
    """Accuracy in % by seed of a method, or of a variant by another column; nan for a run that was lost."""
    chosen = rows[(rows[column] == name) & (rows.benchmark == benchmark)].drop_duplicates("run_id")
    percent = 100 * chosen.mean_accuracy.where(chosen.status == "finished").astype(float)
    return BySeed.from_frame(chosen.assign(percent=percent), "percent")
