"""The commands that look after rows, MLflow and the machine: what each takes and what it does."""

import importlib.util
from pathlib import Path

from pipeline.cli import options as opt
from pipeline.cli.options import Args, Command
from pipeline.records.files import refuse_unwritable
from pipeline.workspace import open_store
from presyn import PresynError


def _import_options(p: opt.Parser) -> None:
    p.add_argument("files", type=Path, nargs="*", help="default: all under results/")
    opt.storage(p, mlflow=False)


def _import(args: Args) -> int:
    from pipeline.records.csvs import holds_rows, import_rows

    files = args.files or [f for f in sorted(opt.REAL.results.rglob("*.csv")) if holds_rows(f)]
    if not files:
        raise PresynError("There is no results/ here: name the CSVs to import.")
    store = open_store(args.store)
    with store.locked(f"presyn {args.command}"):
        new, there = import_rows(files, store)
    print(f"{new} runs imported into {store.root}, {there} were there. Stages read them instead of training.")
    return 0


def _show_options(p: opt.Parser) -> None:
    p.add_argument("run_id", help="or the first letters of one")
    opt.storage(p, mlflow=False)


def _show(args: Args) -> int:
    from pipeline.cli.show import find, show

    show(find(args.run_id, open_store(args.store)))
    return 0


def _sync_options(p: opt.Parser) -> None:
    opt.storage(p)


def _sync(args: Args) -> int:
    from pipeline.records.mlflow import sync
    from presyn.errors import hide_passwords

    at = opt.workspace(args)
    with at.store.locked(f"presyn {args.command}"):
        if not sync(at.store, at.uri, at.prefix):
            return 1
    print(f"MLflow at {hide_passwords(at.uri)} holds the {len(at.store.ids())} runs of {at.store.root}.")
    return 0


def _ui_options(p: opt.Parser) -> None:
    p.add_argument("--port", type=int, default=5000)
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine alone)")
    opt.storage(p)


def _ui(args: Args) -> int:
    from pipeline.records.pages import latest_table, serve
    from pipeline.records.server import client_of, remedy
    from presyn.errors import hide_passwords

    at = opt.workspace(args)
    page = f"/#/experiments{latest_table(at.store, at.uri, at.prefix)}?workflowType=machine_learning"
    if at.uri.startswith("http"):
        print(f"{hide_passwords(at.uri).rstrip('/')}{page}")
        return 0
    try:
        client_of(at.uri, at.store.root / "mlflow.db")  # the store's own is made whole, or mended
    except Exception as e:  # whatever MLflow or its backend raises
        why, fix = remedy(e, at.uri)
        raise PresynError(f"MLflow at {hide_passwords(at.uri)} cannot be opened ({why}). {fix}") from None
    words = ["mlflow", "ui", "--backend-store-uri", at.uri, "--host", args.host, "--port", str(args.port)]
    return serve(words, args.host, args.port, page)


def _dashboard_options(p: opt.Parser) -> None:
    p.add_argument("--port", type=int, default=8080)
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine alone)")
    opt.storage(p, mlflow=False)


def _dashboard(args: Args) -> int:
    from pipeline.records.pages import serve
    from sweeps.files import sqlite_address

    path = open_store(args.store).root / "optuna.db"
    if not path.exists():
        raise PresynError(f"There is no study in {path.parent} yet: a search makes one when it ends.")
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise PresynError("optuna-dashboard is not installed here: pip install optuna-dashboard")
    words = ["optuna_dashboard._cli", sqlite_address(path), "--host", args.host, "--port", str(args.port)]
    return serve(words, args.host, args.port, "/dashboard")


def _bench_options(p: opt.Parser) -> None:
    p.add_argument("--device", help="cpu (default) or cuda: then it is first checked against the CPU")
    p.add_argument("--quick", action="store_true", help="fewer repetitions")
    runs = "one-second runs that measure the orchestration (default 100; 0 skips)"
    p.add_argument("--runs", type=int, default=100, help=runs)
    p.add_argument("--results", type=Path, default=Path("results"), help="where bench/ goes (default results)")


def _bench(args: Args) -> int:
    if args.runs < 0:
        raise PresynError(f"--runs must be at least 0, not {args.runs}.")
    from pipeline.bench import bench
    from presyn import choose_device

    refuse_unwritable(args.results, "--results")
    bench(choose_device(args.device or "cpu"), args.results, args.quick, args.runs)
    return 0


UPKEEP = {
    "import": Command("put the runs of CSVs of ours, such as those under results/, into the store", _import_options, _import),
    "show": Command("a run's configuration, results, provenance, and the command that repeats it", _show_options, _show),
    "sync-mlflow": Command("rebuild MLflow from the store", _sync_options, _sync),
    "mlflow-ui": Command("open MLflow on the store", _ui_options, _ui),
    "optuna-dashboard": Command("open the searches of the store in optuna-dashboard", _dashboard_options, _dashboard),
    "bench": Command(
        "measure steps, tests, memory and orchestration beside their floors and the usual loop", _bench_options, _bench
    ),
}
