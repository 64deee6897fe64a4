"""The commands that look after rows, MLflow and the machine."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pipeline.cli.command import given_command, given_name
from pipeline.cli.experiments import NO_MLFLOW, NO_STORE, MLflowOptions, StoreOptions
from pipeline.cli.options import REAL_RESULTS, open_workspace
from presyn.errors import PresynError

if TYPE_CHECKING:
    from pipeline.records.store import Store

Host = Annotated[str, Parameter(help="address to listen on; 127.0.0.1 is this machine alone")]
Names = Annotated[
    tuple[str, ...],
    Parameter(consume_multiple=True, help="further names that the server is called by, such as that of a proxy before it"),
]


def import_(*files: Path, store: StoreOptions = NO_STORE) -> int:
    """Put the runs of CSVs of ours, such as those under results/, into the store.

    Parameters
    ----------
    files
        CSVs of rows, or folders, of which every CSV of rows is taken; without one, results/
    """
    from pipeline.records.csvs import find_csvs, import_rows
    from pipeline.records.find import MOST_NAMED
    from pipeline.workspace import open_store

    if not files and not REAL_RESULTS.is_dir():
        raise PresynError("There is no results/ here: name the CSVs to import.")
    paths = [path for given in files or [REAL_RESULTS] for path in find_csvs(given)]
    opened = open_store(store.store, store.checkpoints)
    with opened.locked(given_name()):
        new, present, others = import_rows(paths, opened)
    print(f"{new} runs imported into {opened.root}, {present} were there. Stages read them instead of training.")
    if others:
        named = ", ".join(others[:MOST_NAMED]) + (", …" if len(others) > MOST_NAMED else "")
        print(
            f"presyn: of {len(others)} runs there are rows from different machines, with other numbers ({named}); "
            "the first one counts, and the one in the store before any.",
            file=sys.stderr,
        )
    return 0


def show(run_id: str, /, *, store: StoreOptions = NO_STORE) -> int:
    """Print a run's configuration, results, provenance, and the command that repeats it.

    Parameters
    ----------
    run_id
        the id of a run, or the first letters of one
    """
    from pipeline.cli.show import print_row
    from pipeline.records.find import find_row
    from pipeline.workspace import open_store

    print_row(find_row(run_id, open_store(store.store, store.checkpoints, write=False)))
    return 0


def sync_mlflow(*, store: StoreOptions = NO_STORE, mlflow: MLflowOptions = NO_MLFLOW) -> int:
    """Rebuild MLflow from the store."""
    from pipeline.records.mlflow.writer import sync
    from presyn.errors import hide_passwords

    workspace = open_workspace(REAL_RESULTS, given_command.get(), store, mlflow)
    with workspace.store.locked(given_name()):
        _say_what_experiments_are(workspace.store)
        if not sync(workspace.store, workspace.uri, workspace.prefix):
            return 1
    print(f"MLflow at {hide_passwords(workspace.uri)} holds the {len(workspace.store.ids())} runs of {workspace.store.root}.")
    print("Compared: parameters, tags, data sets, the last value of each metric. Not looked at: earlier values, times, files.")
    return 0


def _say_what_experiments_are(store: "Store") -> None:
    """Give notes of earlier versions what they did not keep: what their experiments are."""
    from pipeline.experiments.catalogue import EXPERIMENTS, Choice, shown_stages
    from pipeline.experiments.run import Runs
    from pipeline.records.mlflow.notes import read_notes

    bare = [note for note in read_notes(store) if not note.objective and not note.about]
    if not bare:
        return
    stages = [*EXPERIMENTS["searches"].stages(Choice(REAL_RESULTS)), *shown_stages()]
    about = {stage.mlflow_experiment: stage.about for stage in reversed(stages)} | {Runs.name: Runs.about}
    for note in bare:
        if about.get(note.experiment):
            note.about = about[note.experiment]
            note.save(store)


def mlflow_ui(
    *,
    port: int = 5000,
    host: Host = "127.0.0.1",
    allowed_hosts: Names = (),
    store: StoreOptions = NO_STORE,
    mlflow: MLflowOptions = NO_MLFLOW,
) -> int:
    """Open MLflow on the store.

    Parameters
    ----------
    port
        port to listen on
    """
    from pipeline.cli.pages import latest_table, security_options, serve
    from pipeline.records.mlflow.server import connect, remedy
    from presyn.errors import hide_passwords

    workspace = open_workspace(REAL_RESULTS, given_command.get(), store, mlflow)
    latest = latest_table(workspace)
    path = f"/#/experiments{latest}{'&' if '?' in latest else '?'}workflowType=machine_learning"
    if workspace.uri.startswith("http"):
        print(f"{hide_passwords(workspace.uri).rstrip('/')}{path}")
        return 0
    try:
        connect(workspace.uri, workspace.store)  # the store's own is made whole, or mended
    except Exception as e:  # whatever MLflow or its backend raises
        why, fix = remedy(e, workspace.uri)
        raise PresynError(f"MLflow at {hide_passwords(workspace.uri)} cannot be opened ({why}). {fix}") from None
    words = ["mlflow", "ui", "--backend-store-uri", workspace.uri, *security_options(host, port, allowed_hosts)]
    words += ["--host", host, "--port", str(port)]
    return serve(words, host, port, path, workspace.store.root / f"mlflow-ui-{port}.log")


def optuna_dashboard(*, port: int = 8080, host: Host = "127.0.0.1", store: StoreOptions = NO_STORE) -> int:
    """Open the searches of the store in optuna-dashboard.

    Parameters
    ----------
    port
        port to listen on
    """
    from pipeline.cli.pages import serve
    from pipeline.workspace import open_store
    from sweeps.files import sqlite_address

    root = open_store(store.store, store.checkpoints, write=False).root
    path = root / "optuna.db"
    if not path.exists():
        raise PresynError(f"There is no study in {path.parent} yet: a search makes one when it ends.")
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise PresynError("optuna-dashboard is not installed here: pip install optuna-dashboard")
    words = ["optuna_dashboard._cli", sqlite_address(path), "--host", host, "--port", str(port)]
    return serve(words, host, port, "/dashboard", root / f"optuna-dashboard-{port}.log")


def bench(*, device: str = "cpu", quick: bool = False, runs: int = 100, results: Path = REAL_RESULTS) -> int:
    """Measure steps, tests, memory and orchestration beside their floors and the usual loop; in a checkout.

    Parameters
    ----------
    device
        cpu, or cuda: then it is first checked against the CPU
    quick
        fewer repetitions
    runs
        one-second runs that measure the orchestration; 0 skips
    results
        where bench/ goes
    """
    from pipeline.records.files import refuse_unwritable
    from presyn import choose_device

    if runs < 0:
        raise PresynError(f"--runs must be at least 0, not {runs}.")
    checkout = Path(__file__).parents[2]
    if not (checkout / "bench" / "__init__.py").exists():
        raise PresynError("The benchmark is not part of the package: run it in a checkout of the repository.")
    chosen = choose_device(device)
    refuse_unwritable(results, "--results")
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    importlib.import_module("bench").bench(chosen, results, quick, runs)
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "import": import_,
    "show": show,
    "sync-mlflow": sync_mlflow,
    "mlflow-ui": mlflow_ui,
    "optuna-dashboard": optuna_dashboard,
    "bench": bench,
}
