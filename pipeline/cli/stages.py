"""The commands that carry out stages: what each takes and what it does."""

import sys
import webbrowser
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.cli import options as opt
from pipeline.cli.options import Args, Command
from pipeline.records.files import refuse_unwritable
from pipeline.workspace import Workspace
from sweeps.files import read_benchmark


def _perform(args: Args, stages: Sequence[Any], at: Workspace, **how: bool) -> dict[str, Any]:
    """Carry stages out as the store's only writer; prints what they show."""
    from pipeline.cli.show import out
    from pipeline.perform import perform

    with at.store.locked(f"presyn {args.command}", getattr(args, "wait", False)):
        made = perform(stages, at, dry_run=getattr(args, "dry_run", False), **how)
    for stage in stages:
        if stage.name in made and made[stage.name].shown is not None:
            out.print(made[stage.name].shown)
    return made


def _prepare(args: Args, otherwise: Path | None = None) -> Path:
    """The results folder, made now, so that one that cannot be made is found before long work."""
    results = args.results = args.results or otherwise or opt.preset(args).results
    refuse_unwritable(results, "--results")
    return results


def _run_options(p: opt.Parser) -> None:
    opt.method(p, required=True)
    p.add_argument("--benchmark", required=True, help=opt.BENCHMARK_HELP)
    opt.seeded(p, opt.SEEDS[:1])
    opt.settings(p, "any field of the method or the benchmark")
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    p.add_argument("--rows", type=Path, metavar="FILE", help="also write them as a CSV, as the tables' rows are")
    p.add_argument("--fresh", action="store_true", help="train again what is in the store")
    opt.place(p, ray=False)


def _run(args: Args) -> int:
    from pipeline.cli.show import as_json, print_rows
    from pipeline.experiments.runs import Runs

    settings = opt.parse_settings(args.set)
    if args.rows:
        refuse_unwritable(args.rows, "--rows", is_file=True)
    stage = Runs(args.method, read_benchmark(args.benchmark), opt.seeds_of(args), settings, args.rows)
    with redirect_stdout(sys.stderr) if args.json else nullcontext():  # whatever a library prints, stdout is the object
        rows = _perform(args, [stage], opt.workspace(args), here=True, fresh=args.fresh)[stage.name].value
    if args.json:
        print(as_json(rows))
    else:
        print_rows(rows)
    return 0 if all(row.status == "finished" for row in rows) else 2


def _search_options(p: opt.Parser) -> None:
    opt.searched(p)
    opt.outcome(p)


def _space(args: Args) -> Any:
    from sweeps.space import read_space

    space = read_space(args.space or opt.preset(args).space)
    return replace(space, trials=opt.trials_of(args.trials, space.trials))


def _search(args: Args) -> int:
    from pipeline.experiments.search import search

    space = _space(args)
    _prepare(args)
    at = opt.workspace(args)
    _perform(args, [search(space, at.store.manifests)], at)
    return 0


def _table1_options(p: opt.Parser) -> None:
    opt.seeded(p)
    opt.benchmarks(p, "the paper's four")
    p.add_argument("--so-far", action="store_true", help="make the table of the runs that are in the store; train nothing")
    _search_options(p)


def _table1(args: Args) -> int:
    from pipeline.experiments.search import search
    from pipeline.experiments.table1 import Table1, tuned_winners

    space, results = _space(args), _prepare(args)
    benchmarks = opt.read_benchmarks(args.benchmarks or opt.preset(args).benchmarks)
    at = opt.workspace(args)
    stage = Table1(search(space, at.store.manifests), opt.seeds_of(args), benchmarks, tuned_winners(results))
    if _perform(args, [stage], at, so_far=args.so_far):
        print(f"Rows and tables: {results / 'table1'}   MLflow: presyn mlflow-ui", file=sys.stderr)
    return 0


def _ablate_options(p: opt.Parser) -> None:
    opt.method(p, default="presynaptic")
    off = "ablations by name, or one of your own by what switches it off (repeatable; default: Fig. 5a)"
    p.add_argument("--off", nargs="+", action="append", metavar="NAME|FIELD=VALUE", help=off)
    departures = "instead: what the released code does otherwise than the paper says"
    p.add_argument("--departures", action="store_true", help=departures)
    source = p.add_mutually_exclusive_group()
    source.add_argument("--reuse-parameters", action="store_true", help="those that the last search found")
    source.add_argument("--published-parameters", action="store_true", help="the authors'")
    opt.benchmarks(p, "split-mnist permuted-mnist, with --departures continuous-permuted-mnist too")
    opt.seeded(p)
    trials = "configurations to draw for each ablation and benchmark (default 24)"
    p.add_argument("--trials", type=int, default=24, help=trials)
    opt.outcome(p)


def _ablate(args: Args) -> int:
    from pipeline.experiments.ablations import chosen, study

    trials = opt.trials_of(args.trials, 24)
    source = "published" if args.published_parameters else "reuse" if args.reuse_parameters else "search"
    off = None if args.off is None else [_off(group) for group in args.off]
    names = args.benchmarks or (["split-digits"] if args.digits else None)
    choice = chosen(args.method, off, args.departures, source, opt.read_benchmarks(names) if names else None)
    results, at = _prepare(args), opt.workspace(args)
    stage = study(choice, opt.seeds_of(args), results, trials, at.store.manifests)
    if _perform(args, [stage], at):
        print(f"Rows, table and figure: {results / stage.name}", file=sys.stderr)
    return 0


def _off(group: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Ablations by name, and one of one's own by its settings."""
    return [w for w in group if "=" not in w], opt.parse_settings([w for w in group if "=" in w])


def _verify_options(p: opt.Parser) -> None:
    p.add_argument("--results", type=Path, default=Path("results"))
    opt.storage(p)


def _verify(args: Args) -> int:
    from pipeline.cli.show import out
    from pipeline.experiments.verify import verify
    from pipeline.perform import perform
    from pipeline.report.terminal import grid

    stage = verify(args.results)
    table = perform([stage], opt.workspace(args))[stage.name].value  # needs no lock: it writes only what is its own
    for family, of in table.groupby("family", sort=False):
        out.print(grid(of, family, columns=("claim", "published", "ours", "verdict")))
    print(f"Tests, p values, seeds that would decide, and notes: {args.results / 'verdicts.md'}")
    return 0


def _report_options(p: opt.Parser) -> None:
    p.add_argument("--results", type=Path, default=Path("results"))
    p.add_argument("--open", action="store_true", help="open it in a browser")
    opt.storage(p)


def _report(args: Args) -> int:
    from pipeline.experiments.report import report
    from pipeline.perform import perform

    page = perform([report(args.results)], opt.workspace(args))["report"].value.absolute()
    if args.open:
        webbrowser.open(page.as_uri())
    print(page)
    return 0


OWN_RESULTS = Path("my-results")
"""Where `reproduce` writes by default when seeds or settings are given."""


def _reproduce_options(p: opt.Parser) -> None:
    p.add_argument("names", nargs="*", metavar="NAME", help="experiments, as --list names them; without a name, all")
    p.add_argument("--list", action="store_true", help="list the experiments")
    p.add_argument("--module", action="append", default=[], help="a Python module with stages of your own")
    opt.seeded(p, None)
    opt.settings(p, "any field of the methods or benchmarks, such as epochs=2")
    p.add_argument("--so-far", action="store_true", help="make it of the runs that are in the store; train nothing")
    opt.outcome(p)


def _reproduce(args: Args) -> int:
    from pipeline.experiments.catalogue import EXPERIMENTS, Choice, rounds_of

    if args.list:
        for name, experiment in EXPERIMENTS.items():
            print(f"{name:{max(map(len, EXPERIMENTS)) + 2}}{experiment.words}")
        return 0
    # Other seeds or settings than the paper's do not go into the folder of its own, whose rows would be lost.
    results = _prepare(args, OWN_RESULTS if (args.seeds or args.set) and not args.digits else None)
    at = opt.workspace(args)
    seeds = opt.seeds_of(args) if args.seeds else None
    choice = Choice(results, at.store.manifests, seeds, opt.parse_settings(args.set), args.digits, args.data)
    for build in rounds_of(args.names, args.module, choice):  # a round reads what the one before has written
        stages = build()
        made = _perform(args, stages, at, so_far=args.so_far)
        for stage in stages:
            if stage.name in made:
                print(f"{stage.title}: {stage.folder(results)}", file=sys.stderr)
    return 0


STAGES = {
    "run": Command("train some runs in this process and print them", _run_options, _run),
    "search": Command("search a method's parameters on validation data", _search_options, _search),
    "table1": Command("search, carry the winner over, train the controls, and print Table 1", _table1_options, _table1),
    "ablate": Command(
        "switch parts of a rule off, with parameters searched again for each, and print the table", _ablate_options, _ablate
    ),
    "reproduce": Command("carry out experiments of the paper by name, or stages of your own", _reproduce_options, _reproduce),
    "verify": Command("verdicts from the rows under results/; trains nothing", _verify_options, _verify),
    "report": Command("the page for readers, from the rows under results/; trains nothing", _report_options, _report),
}
