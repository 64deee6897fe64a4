"""The commands that look after rows, MLflow and the machine: what each takes and what it does."""

import os
import sys
from pathlib import Path

from pipeline.cli import options as opt
from pipeline.cli.options import Args, Command
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
    from pipeline.records.server import hidden

    at = opt.workspace(args)
    with at.store.locked(f"presyn {args.command}"):
        if not sync(at.store, at.uri, at.prefix):
            return 1
    print(f"MLflow at {hidden(at.uri)} holds the {len(at.store.ids())} runs of {at.store.root}.")
    return 0


def _ui_options(p: opt.Parser) -> None:
    p.add_argument("--port", type=int, default=5000)
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine alone)")
    opt.storage(p)


def _ui(args: Args) -> int:
    uri = opt.workspace(args).uri
    page = "/#/experiments?workflowType=machine_learning"  # without it MLflow shows pages about language models
    if uri.startswith("http"):
        print(f"{uri.rstrip('/')}{page}")
        return 0
    print(f"http://{args.host}:{args.port}{page}", flush=True)
    os.execvp(
        sys.executable,
        [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", args.host, "--port", str(args.port)],
    )
    return 0  # not reached


def _bench_options(p: opt.Parser) -> None:
    p.add_argument("--device", help="cpu (default) or cuda: then it is first checked against the CPU")
    p.add_argument("--quick", action="store_true", help="fewer repetitions")
    runs = "one-second runs that measure the orchestration (default 100; 0 skips)"
    p.add_argument("--runs", type=int, default=100, help=runs)
    p.add_argument("--results", type=Path, default=Path("results"), help="where bench/ goes (default results)")


def _bench(args: Args) -> int:
    from pipeline.bench import bench
    from presyn import choose_device

    bench(choose_device(args.device or "cpu"), args.results, args.quick, args.runs)
    return 0


UPKEEP = {
    "import": Command("put the runs of CSVs of ours, such as those under results/, into the store", _import_options, _import),
    "show": Command("a run's configuration, results, provenance, and the command that repeats it", _show_options, _show),
    "sync-mlflow": Command("rebuild MLflow from the store", _sync_options, _sync),
    "mlflow-ui": Command("open MLflow on the store", _ui_options, _ui),
    "bench": Command(
        "measure steps, tests, memory and orchestration beside their floors and the usual loop", _bench_options, _bench
    ),
}
