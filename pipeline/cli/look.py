"""The commands that look at options and at the runs of the store, and the one that removes runs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pipeline.cli.command import given_command, given_name
from pipeline.cli.experiments import NO_MLFLOW, NO_STORE, MLflowOptions, StoreOptions
from pipeline.cli.options import REAL_RESULTS, Words, open_workspace
from presyn.errors import PresynError

Methods = Annotated[list[str] | None, Parameter(name="--method", consume_multiple=True, help="only runs of these methods")]
Benchmarks = Annotated[
    list[str] | None, Parameter(name="--benchmark", consume_multiple=True, help="only runs on these benchmarks")
]
Settings = Annotated[
    list[str] | None,
    Parameter(name="--set", consume_multiple=True, help="FIELD=VALUE: only runs that have these, such as p_freeze=1"),
]
Statuses = Annotated[
    list[str] | None, Parameter(name="--status", consume_multiple=True, help="only runs that are finished, dropped or diverged")
]


def _open(store: Any) -> Any:
    from pipeline.workspace import open_store

    return open_store(store.store, store.checkpoints, write=False)


def options(method: str | None = None, benchmark: str | None = None, /) -> int:
    """Print what can be set: every option of a method and of a benchmark.

    Parameters
    ----------
    method
        a method by name; without one, all of them
    benchmark
        a benchmark by name, or a .yaml file: then the values that the method is used with there, not the defaults
    """
    from pipeline.cli.option_docs import NOTE, as_text, describe_benchmark, describe_method, method_names, summary
    from pipeline.cli.tables import console
    from presyn.options import reject_unknown
    from sweeps.files import read_benchmark

    if method is not None:
        reject_unknown([method], method_names(), "method")
    tasks = None if benchmark is None else read_benchmark(benchmark)
    for name in method_names() if method is None else (method,):
        console.print(f"{name}: {summary(name)}", style="bold", highlight=False)
        print(*as_text(describe_method(name, tasks), console.width), sep="\n", end="\n\n")
    console.print(f"benchmark{'s' if tasks is None else f' {tasks.name}'}", style="bold", highlight=False)
    print(*as_text(describe_benchmark(tasks, method), console.width), sep="\n", end="\n\n")
    console.print(NOTE, highlight=False)
    return 0


def list_(
    *ids: str,
    method: Methods = None,
    benchmark: Benchmarks = None,
    set: Settings = None,
    status: Statuses = None,
    sort: str | None = None,
    reverse: bool = False,
    json: bool = False,
    csv: bool = False,
    store: StoreOptions = NO_STORE,
) -> int:
    """List the runs of the store.

    Parameters
    ----------
    ids
        ids of runs, or the first letters of them; without one, all
    sort
        by mean_accuracy, forgetting, seconds, ended, status, an option or a figure such as mean_p (default: by id)
    reverse
        the largest first
    json
        print one JSON object, with everything that is known of each run
    csv
        print a CSV, as those under results/: `presyn import` reads it
    """
    from pipeline.cli.choose import choose_rows, sort_rows
    from pipeline.cli.show import as_json, print_list
    from pipeline.records.csvs import rows_csv

    if json and csv:
        raise PresynError("--json and --csv do not go together: choose one of them.")
    opened = _open(store)
    rows = choose_rows(opened, ids, method, benchmark, set, status)
    if sort is not None:
        rows = sort_rows(rows, sort, reverse)
    elif reverse:
        rows = rows[::-1]
    if json:
        print(as_json(rows))
    elif csv:
        print(rows_csv([({}, row) for row in rows]) if rows else "", end="")
    else:
        print_list(rows)
        print(f"{len(rows)} of the {len(opened.ids())} runs in {opened.root}", file=sys.stderr)
    return 0


def compare(*ids: str, store: StoreOptions = NO_STORE) -> int:
    """Show in which options some runs differ, and their figures side by side.

    Parameters
    ----------
    ids
        ids of two runs or more, or the first letters of them
    """
    from pipeline.cli.show import print_comparison
    from pipeline.records.find import find_rows

    rows = find_rows(ids, _open(store)) if ids else []
    if len(rows) < 2:
        raise PresynError("compare takes the ids of two different runs or more; presyn list has them.")
    print_comparison(rows)
    return 0


def remove(*ids: str, yes: bool = False, store: StoreOptions = NO_STORE, mlflow: MLflowOptions = NO_MLFLOW) -> int:
    """Remove runs from the store and from MLflow; without --yes, only say what it would cost to make them again.

    Parameters
    ----------
    ids
        ids of runs, or the first letters of them
    yes
        remove them
    """
    from pipeline.cli.removal import describe_cost, remove_rows
    from pipeline.records.find import find_rows
    from pipeline.records.mlflow.writer import delete_runs

    if not ids:
        raise PresynError("remove takes the ids of runs; presyn list has them.")
    workspace = open_workspace(REAL_RESULTS, given_command.get(), store, mlflow)
    opened = workspace.store
    rows = find_rows(ids, opened)
    print(*describe_cost(rows, REAL_RESULTS), sep="\n")
    if not yes:
        print(f"Nothing is removed yet: say the same with --yes to remove {'it' if len(rows) == 1 else 'them'}.")
        return 0
    with opened.locked(given_name()):
        try:  # first, so that what is killed in between is written there again and not left behind
            deleted = delete_runs(opened, workspace.uri, [row.run_id for row in rows])
            mlflow_note = f"In MLflow {deleted} of their runs are deleted; `mlflow gc` takes them away for good."
        except PresynError as e:
            mlflow_note = f"{e}: they stay there until somebody deletes them; their ids are in the tag run_id."
        remove_rows(rows, opened)
    print(f"{len(rows)} removed from {opened.root}. {mlflow_note}")
    return 0


def curves(
    *ids: str,
    figure: str = "accuracy",
    group: Words = None,
    method: Methods = None,
    benchmark: Benchmarks = None,
    set: Settings = None,
    status: Annotated[Statuses, Parameter(help="runs that are finished, dropped or diverged (default finished)")] = None,
    out: Path = Path("curves.png"),
    store: StoreOptions = NO_STORE,
) -> int:
    """Draw how runs of the store went: a curve for each group, with a band of one standard error over its runs.

    Parameters
    ----------
    ids
        ids of runs, or the first letters of them; without one, all that the other options choose
    figure
        accuracy (a panel for each task), mean_accuracy (over the tasks so far), loss, or a figure such as mean_p or energy
    group
        options that tell the curves apart, such as p_freeze (default: all in which the runs differ, but the seed)
    out
        a .png or .svg file
    """
    from pipeline.cli.choose import choose_rows
    from pipeline.cli.curves import draw_curves, make_curves
    from pipeline.records.files import refuse_unwritable, write_whole

    if out.suffix not in (".png", ".svg"):
        raise PresynError(f"--out must end in .png or .svg, not {out.name!r}.")
    refuse_unwritable(out, "--out", is_file=True)
    rows = choose_rows(_open(store), ids, method, benchmark, set, status or ["finished"])
    made = make_curves(rows, figure, group)
    write_whole(out, draw_curves(made, figure))
    for curve in made:
        print(f"{curve.label}: {curve.runs} run{'' if curve.runs == 1 else 's'}")
    print(out.absolute())
    return 0


def status(*, store: StoreOptions = NO_STORE) -> int:
    """Say how far the command is that uses the store: what is finished, running and waiting; from any shell or node."""
    from pipeline.cli.progress import describe_progress

    print(*describe_progress(_open(store)), sep="\n")
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "options": options,
    "list": list_,
    "compare": compare,
    "curves": curves,
    "status": status,
    "remove": remove,
}
