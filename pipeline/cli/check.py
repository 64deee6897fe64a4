"""The commands that make verdicts and the page of the rows under results/."""

import sys
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.cli.command import given_command
from pipeline.cli.experiments import NO_CLUSTER, NO_MLFLOW, NO_STORE, ClusterOptions, MLflowOptions, StoreOptions
from pipeline.cli.options import REAL_RESULTS, Words, open_workspace
from presyn.errors import PresynError


def verify(
    *,
    results: Path = REAL_RESULTS,
    again: int | None = None,
    runs: Words = None,
    seed: int = 0,
    store: StoreOptions = NO_STORE,
    mlflow: MLflowOptions = NO_MLFLOW,
    cluster: ClusterOptions = NO_CLUSTER,
) -> int:
    """Verdicts from the rows under results/; trains nothing, but for a spot check with --again or --runs.

    Parameters
    ----------
    results
        where the rows are
    again
        so many runs, drawn at random, are trained again here and compared digit by digit with their rows
    runs
        the same with these runs, by the beginnings of their ids; the page tells of random draws alone
    seed
        of the draw
    """
    from pipeline.cli.tables import print_table
    from pipeline.experiments.catalogue import verdicts
    from pipeline.experiments.verdicts.again import committed_rows, draw_rows, named_rows, refuse_count
    from pipeline.perform import perform
    from pipeline.records.results import Results
    from pipeline.report.tables import grid
    from pipeline.report.verdicts import verdict_table

    rows = committed_rows(Results(results)) if again is not None or runs else {}
    named = named_rows(rows, runs or ())
    if again is not None:
        refuse_count(rows, again)
    stage = verdicts()
    workspace = open_workspace(results, given_command.get(), store, mlflow, cluster)
    made = perform([stage], workspace)
    table = verdict_table(made[stage.name].value.verdicts)
    for family, lines in table.groupby("family", sort=False):
        print_table(grid(lines, family, columns=("claim", "published", "ours", "verdict")))
    print(f"Tests, p values, seeds that would decide, and notes: {results / 'verdicts.md'}")
    drawn = [] if again is None else draw_rows(rows, made[stage.name].value, again, seed)
    if named or drawn:
        _train_again({row.run_id: row for row in [*named, *drawn]}, workspace, is_kept=not named)
    _name_stale_files(made[stage.name].value, results)
    return 0


def _name_stale_files(verdicts: Any, folder: Path) -> None:
    """Say which tables, figures and pages are not what the rows make.

    Raises:
        PresynError: a table or a figure is not, which a command writes together with its rows.
    """
    from pipeline.experiments.catalogue import report as make_report
    from pipeline.experiments.report.stage import stale_files
    from pipeline.records.results import Results

    changed, outdated = (", ".join(map(str, paths)) for paths in stale_files(make_report(), verdicts, Results(folder)))
    if changed:
        raise PresynError(f"Not what the rows make: {changed}. Make them again with: presyn report --results {folder}")
    if outdated:
        print(
            f"The page was made of other rows: {outdated}. Make it again with: presyn report --results {folder}",
            file=sys.stderr,
        )


def _train_again(rows: Mapping[str, Any], workspace: Any, is_kept: bool) -> None:
    """Train committed runs again, by their ids, and say what came of it; a random draw is kept for the page."""
    from pipeline.cli.tables import console, print_table
    from pipeline.experiments.verdicts import again
    from pipeline.report.tables import grid

    repeated = again.train_again(list(rows.values()), workspace.store.root, workspace.cluster)
    table = again.compare(list(rows.values()), repeated)
    if is_kept:
        again.write(table, workspace.results)
    print_table(grid(table, "Committed runs, trained again", columns=again.SHOWN))
    console.print(again.in_words(table), highlight=False)
    again.refuse_different(table)


def report(
    *,
    results: Path = REAL_RESULTS,
    open: bool = False,
    store: StoreOptions = NO_STORE,
    mlflow: MLflowOptions = NO_MLFLOW,
) -> int:
    """The page for readers, from the rows under results/; trains nothing.

    Parameters
    ----------
    results
        where the rows are
    open
        open it in a browser
    """
    from pipeline.experiments.catalogue import report as make_report
    from pipeline.experiments.verdicts.conclusions import BEGIN
    from pipeline.perform import perform

    readme = results.absolute().parent / "README.md"
    # Rows of other seeds or settings, which lie beside the paper's, do not change the README and the documentation.
    is_of_paper = results.absolute().name == REAL_RESULTS.name and readme.exists()
    is_ours = is_of_paper and BEGIN in readme.read_text(encoding="utf-8", errors="replace")
    workspace = open_workspace(results, given_command.get(), store, mlflow)
    page = perform([make_report(readme if is_ours else None)], workspace)["report"].value.absolute()
    if open:
        webbrowser.open(page.as_uri())
    print(page)
    return 0


COMMANDS: dict[str, Callable[..., int]] = {"verify": verify, "report": report}
