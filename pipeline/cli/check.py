"""The commands that make verdicts and the page of the rows under results/."""

import sys
import webbrowser
from collections.abc import Callable, Sequence
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
        the same with these runs, by the beginnings of their ids
    seed
        of the draw
    """
    from pipeline.cli.tables import print_table
    from pipeline.experiments.catalogue import verdicts
    from pipeline.experiments.verdicts.again import refuse_request
    from pipeline.perform import perform
    from pipeline.records.results import Results
    from pipeline.report.tables import grid
    from pipeline.report.verdicts import verdict_table

    if again is not None or runs:
        refuse_request(Results(results), again, runs or ())
    stage = verdicts()
    workspace = open_workspace(results, given_command.get(), store, mlflow, cluster)
    made = perform([stage], workspace)
    table = verdict_table(made[stage.name].value.verdicts)
    for family, lines in table.groupby("family", sort=False):
        print_table(grid(lines, family, columns=("claim", "published", "ours", "verdict")))
    print(f"Tests, p values, seeds that would decide, and notes: {results / 'verdicts.md'}")
    _name_stale_files(made[stage.name].value, results)
    if again is not None or runs:
        _train_again(made[stage.name].value, workspace, again, runs or (), seed)
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


def _train_again(verdicts: Any, workspace: Any, count: int | None, names: Sequence[str], seed: int) -> None:
    """Train committed runs again, and say what came of it."""
    from pipeline.cli.tables import console, print_table
    from pipeline.experiments.verdicts import again
    from pipeline.records.results import Results
    from pipeline.report.tables import grid

    results = Results(workspace.results)
    drawn = again.draw_rows(results, verdicts, count, seed) if count is not None else []
    rows = list({row.run_id: row for row in [*again.named_rows(results, names), *drawn]}.values())
    repeated = again.train_again(rows, workspace.store.root, workspace.cluster)
    table = again.compare(rows, repeated)
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
    is_ours = readme.exists() and BEGIN in readme.read_text(encoding="utf-8", errors="replace")
    workspace = open_workspace(results, given_command.get(), store, mlflow)
    page = perform([make_report(readme if is_ours else None)], workspace)["report"].value.absolute()
    if open:
        webbrowser.open(page.as_uri())
    print(page)
    return 0


COMMANDS: dict[str, Callable[..., int]] = {"verify": verify, "report": report}
