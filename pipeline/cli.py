"""The command line."""

import argparse
import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from presyn import BENCHMARKS, METHODS, PresynError


@dataclass(frozen=True)
class Preset:
    """What a stage does unless told otherwise."""

    space: str
    benchmarks: tuple[str, ...]
    results: Path


REAL = Preset(
    "presynaptic-permuted-mnist",
    ("split-mnist", "split-fashion", "permuted-mnist", "permuted-fashion"),
    Path("results"),
)
DIGITS = Preset("presynaptic-permuted-digits", ("permuted-digits", "split-digits"), Path(".presyn/quickstart"))
SEEDS = [2019, 2020, 2021]  # the paper's


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="presyn", description="Presynaptic consolidation (Schug, Benzing & Steger, eLife 2021), reproduced."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")

    def storage(p: argparse.ArgumentParser, mlflow: bool = True) -> argparse._ArgumentGroup:
        group = p.add_argument_group("where")
        group.add_argument("--store", metavar="DIR", help="results, manifests, checkpoints (PRESYN_STORE; default .presyn)")
        if mlflow:
            group.add_argument("--mlflow", metavar="URI", help="MLflow (MLFLOW_TRACKING_URI; default SQLite in the store)")
        return group

    def place(p: argparse.ArgumentParser, ray: bool) -> None:
        group = storage(p)
        group.add_argument("--data", help="folder of the IDX files (PRESYN_DATA; default a cache folder, with download)")
        group.add_argument("--device", help="cpu, cuda, … (PRESYN_DEVICE; default cuda if there is one)")
        group.add_argument("--tf32", action="store_true", help="let a GPU multiply in TF32: faster, less exact (default off)")
        group.add_argument("--wait", action="store_true", help="wait while another presyn uses the store")
        if ray:
            group.add_argument("--ray-address", help="a Ray cluster (RAY_ADDRESS; default a local Ray)")
            group.add_argument("--gpu-share", type=float, default=1.0, help="share of a GPU that a cohort takes (default 1)")
            group.add_argument("--cohort", type=int, help="most members of a cohort (default: chosen)")

    def stage(p: argparse.ArgumentParser) -> None:
        p.add_argument("--space", help=f"search space: a name or a .yaml file (default {REAL.space})")
        p.add_argument("--trials", type=int, help="configurations to draw (default: the space's)")
        p.add_argument("--results", type=Path, help="where tables and rows go (default results)")
        p.add_argument("--dry-run", action="store_true", help="print the plan and stop")
        p.add_argument("--digits", action="store_true", help="on scikit-learn's digits: minutes, and no download")
        place(p, ray=True)

    p = command("run", "train some runs in this process and print them")
    p.add_argument("--method", required=True, help=", ".join(METHODS))
    p.add_argument("--benchmark", required=True, help=f"{', '.join(BENCHMARKS)}, or a .yaml file")
    p.add_argument("--seeds", type=int, nargs="+", default=SEEDS[:1], help="default 2019")
    p.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="FIELD=VALUE", help="any field of the method or the benchmark"
    )
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    p.add_argument("--rows", type=Path, metavar="FILE", help="also write them as a CSV, as the tables' rows are")
    p.add_argument("--fresh", action="store_true", help="train again what is in the store")
    place(p, ray=False)
    stage(command("search", "search a method's parameters on validation data"))
    p = command("table1", "search, carry the winner over, train the controls, and print Table 1")
    p.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="default 2019 2020 2021")
    p.add_argument("--benchmarks", nargs="+", help="default: the paper's four")
    p.add_argument("--so-far", action="store_true", help="make the table of the runs that are in the store; train nothing")
    stage(p)
    p = command("ablate", "switch parts of a rule off, with parameters searched again for each, and print the table")
    p.add_argument("--method", default="presynaptic", help=", ".join(METHODS))
    p.add_argument(
        "--off",
        nargs="+",
        action="append",
        metavar="NAME|FIELD=VALUE",
        help="ablations by name, or one of your own by what switches it off (repeatable; default: Fig. 5a)",
    )
    p.add_argument(
        "--departures", action="store_true", help="instead: what the released code does otherwise than the paper says"
    )
    source = p.add_mutually_exclusive_group()
    source.add_argument("--reuse-parameters", action="store_true", help="those that the last search found")
    source.add_argument("--published-parameters", action="store_true", help="the authors'")
    p.add_argument(
        "--benchmarks", nargs="+", help="default split-mnist permuted-mnist, with --departures continuous-permuted-mnist too"
    )
    p.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="default 2019 2020 2021")
    p.add_argument("--trials", type=int, default=24, help="configurations to draw for each ablation and benchmark (default 24)")
    p.add_argument("--results", type=Path, help="where tables and rows go (default results)")
    p.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    p.add_argument("--digits", action="store_true", help="on scikit-learn's digits")
    place(p, ray=True)
    p = command("verify", "verdicts from the rows under results/; trains nothing")
    p.add_argument("--results", type=Path, default=Path("results"))
    storage(p)
    p = command("import", "put the runs of CSVs of ours, such as those under results/, into the store")
    p.add_argument("files", type=Path, nargs="*", help="default: all under results/")
    storage(p, mlflow=False)
    p = command("show", "a run's configuration, results, provenance, and the command that repeats it")
    p.add_argument("run_id", help="or the first letters of one")
    storage(p, mlflow=False)
    storage(command("sync-mlflow", "rebuild MLflow from the store"))
    p = command("mlflow-ui", "open MLflow on the store")
    p.add_argument("--port", type=int, default=5000)
    storage(p)
    p = command("bench", "measure steps, tests, memory and orchestration beside their floors and the usual loop")
    p.add_argument("--device", help="cpu (default) or cuda: then it is first checked against the CPU")
    p.add_argument("--quick", action="store_true", help="fewer repetitions")
    p.add_argument(
        "--runs", type=int, default=100, help="one-second runs that measure the orchestration (default 100; 0 skips)"
    )
    p.add_argument("--results", type=Path, default=Path("results"), help="where bench/ goes (default results)")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = parser().parse_args(arguments)
    try:
        return COMMANDS[args.command](args)
    except PresynError as e:
        print(f"presyn: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"presyn: {e.filename or 'a file'} cannot be read or written ({e.strerror or e}).", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        words = arguments if arguments is not None else sys.argv[1:]
        again = shlex.join(["presyn", *(w for w in words if w != "--fresh")])  # which would begin once more
        print(f"\npresyn: stopped. What is finished is kept; go on with: {again}", file=sys.stderr)
        return 130


def _open(args: argparse.Namespace) -> tuple[Any, str]:
    from pipeline.store import Store, store_root
    from pipeline.tracking import tracking_uri

    store = Store(store_root(args.store))
    return store, tracking_uri(args.mlflow, store)


def _cluster(args: argparse.Namespace) -> Any:
    from sweeps.execute import Cluster

    if getattr(args, "cohort", None) is not None and args.cohort < 1:
        raise PresynError(f"--cohort must be at least 1, not {args.cohort}.")
    if not 0 < getattr(args, "gpu_share", 1.0) <= 1:
        raise PresynError(f"--gpu-share must be above 0 and at most 1, not {args.gpu_share}.")
    data = args.data or os.environ.get("PRESYN_DATA")
    return Cluster(
        data=str(Path(data).expanduser().absolute()) if data else None,  # workers have working folders of their own
        device=args.device or os.environ.get("PRESYN_DEVICE") or None,
        gpu_share=getattr(args, "gpu_share", 1.0),
        max_members=getattr(args, "cohort", None),
        tf32=args.tf32,
        address=getattr(args, "ray_address", None),
    )


def _command(args: argparse.Namespace) -> str:
    return f"presyn {args.command}"


def _run(args: argparse.Namespace) -> int:
    from pipeline.run import as_json, parse_settings, print_rows, run
    from presyn import make_run
    from sweeps.files import read_benchmark

    settings = parse_settings(args.set)
    for seed in args.seeds:  # bad input is found before anything is opened
        make_run(args.method, read_benchmark(args.benchmark), seed, settings)
    cluster = _cluster(args)
    store, uri = _open(args)
    with store.locked(_command(args), args.wait):
        seeds = list(dict.fromkeys(args.seeds))
        rows = run(args.method, args.benchmark, seeds, settings, store, cluster, uri, args.fresh, args.rows)
    if args.json:
        print(as_json(rows))
    else:
        print_rows(rows)
    return 0 if all(r["status"] == "finished" for r in rows) else 2


def _stage(args: argparse.Namespace) -> tuple[Any, Path]:
    from sweeps.space import read_space

    preset = DIGITS if args.digits else REAL
    space = read_space(args.space or preset.space)
    if args.trials is not None:
        space = replace(space, trials=args.trials)
    if space.trials < 1:
        raise PresynError(f"--trials must be at least 1, not {space.trials}.")
    results = args.results or preset.results
    results.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is found now
    return space, results


def _search(args: argparse.Namespace) -> int:
    from pipeline.search import search

    space, results = _stage(args)
    cluster = _cluster(args)
    store, uri = _open(args)
    with store.locked(_command(args), args.wait):
        search([space], store, cluster, uri, results, args.dry_run)
    return 0


def _table1(args: argparse.Namespace) -> int:
    from pipeline.table1 import Settings, show, table1, wanted
    from pipeline.training import console

    space, results = _stage(args)
    benchmarks = tuple(dict.fromkeys(args.benchmarks or (DIGITS if args.digits else REAL).benchmarks))
    settings = Settings(space, tuple(dict.fromkeys(args.seeds)), benchmarks)
    wanted(settings, None, results)  # bad input is found before anything is opened
    cluster = _cluster(args)
    store, uri = _open(args)
    with store.locked(_command(args), args.wait):
        table = table1(settings, store, cluster, uri, results, args.dry_run, args.so_far)
    if table is not None:
        show(table, benchmarks)
        console.print(f"Rows and tables: {results / 'table1'}   MLflow: presyn mlflow-ui", highlight=False)
    return 0


def _ablate(args: argparse.Namespace) -> int:
    from pipeline.ablate import ABLATIONS, DEPARTURES, FULL, TRANSITIONS, Study, ablate, check, own_variants, show
    from pipeline.run import parse_settings
    from pipeline.training import console
    from presyn.options import reject_unknown
    from sweeps.files import read_benchmark

    if args.trials < 1:
        raise PresynError(f"--trials must be at least 1, not {args.trials}.")
    source = "published" if args.published_parameters else "reuse" if args.reuse_parameters else "search"
    variants: Any = DEPARTURES if args.departures else ABLATIONS
    if args.departures:
        if args.off or source != "search" or args.method != "presynaptic":
            raise PresynError("--departures are of the presynaptic rule with its published parameters: give no other choice.")
        source = "default"
    elif args.off:
        names = [word for group in args.off for word in group if "=" not in word]
        reject_unknown(names, ABLATIONS, "ablation (or FIELD=VALUE)")
        own = own_variants([parse_settings(g) for g in ([w for w in g if "=" in w] for g in args.off) if g])
        variants = {**own, **{n: ABLATIONS[n] for n in names}}
        variants = {FULL: {}, **{k: v for k, v in variants.items() if k != FULL}}
    elif args.method != "presynaptic":
        raise PresynError(f"--off is missing: say what to switch off in {args.method}, such as --off eta0=0.001.")
    digits = ("split-digits",) if args.digits else None
    with_transitions = ("continuous-permuted-mnist",) if args.departures else ()
    benchmarks = args.benchmarks or digits or ("split-mnist", "permuted-mnist", *with_transitions)
    on = {
        b: TRANSITIONS if args.departures and read_benchmark(b).kind == "continuous" else variants
        for b in dict.fromkeys(benchmarks)
    }
    own_folder = f"-{args.method}" if args.off else ""
    name = "departures" if args.departures else f"ablations{own_folder}/{'published' if source == 'published' else 'searched'}"
    study = Study(name, args.method, on, tuple(dict.fromkeys(args.seeds)), source, args.trials)
    check(study)
    cluster = _cluster(args)
    results = args.results or (DIGITS if args.digits else REAL).results
    results.mkdir(parents=True, exist_ok=True)
    store, uri = _open(args)
    with store.locked(_command(args), args.wait):
        table = ablate(study, store, cluster, uri, results, args.dry_run)
    if table is not None:
        show(table, "Departures" if args.departures else "Ablations")
        console.print(f"Rows, table and figure: {results / name}", highlight=False)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from pipeline.verify import track, verify

    table = verify(args.results)
    track(table, args.results, *_open(args))  # needs no lock: it reads no runs and writes only what is its own
    columns = ["claim", "published", "ours", "verdict"]
    for family, of in table.groupby("family", sort=False):
        grid = Table(*columns, title=family)
        for row in of[columns].itertuples(index=False):
            grid.add_row(*row)
        Console().print(grid)
    print(f"Tests, p values, seeds that would decide, and notes: {args.results / 'verdicts.md'}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from pipeline.rows import holds_rows, import_rows
    from pipeline.store import Store, store_root

    files = args.files or [f for f in sorted(REAL.results.rglob("*.csv")) if holds_rows(f)]
    if not files:
        raise PresynError("There is no results/ here: name the CSVs to import.")
    store = Store(store_root(args.store))
    with store.locked(_command(args)):
        new, there = import_rows(files, store)
    print(f"{new} runs imported into {store.root}, {there} were there. Stages read them instead of training.")
    return 0


def _show(args: argparse.Namespace) -> int:
    from pipeline.run import show
    from pipeline.store import Store, store_root

    show(args.run_id, Store(store_root(args.store)))
    return 0


def _sync(args: argparse.Namespace) -> int:
    from pipeline.tracking import sync

    store, uri = _open(args)
    with store.locked(_command(args)):
        done = sync(store, uri)
    if not done:
        return 1
    print(f"MLflow at {uri} holds the {len(store.ids())} runs of {store.root}.")
    return 0


def _ui(args: argparse.Namespace) -> int:
    store, uri = _open(args)
    os.execvp(sys.executable, [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(args.port)])


def _bench(args: argparse.Namespace) -> int:
    from pipeline.bench import bench
    from presyn import choose_device

    bench(choose_device(args.device or "cpu"), args.results, args.quick, args.runs)
    return 0


COMMANDS = {
    "run": _run,
    "search": _search,
    "table1": _table1,
    "ablate": _ablate,
    "verify": _verify,
    "import": _import,
    "show": _show,
    "sync-mlflow": _sync,
    "mlflow-ui": _ui,
    "bench": _bench,
}

if __name__ == "__main__":
    sys.exit(main())
