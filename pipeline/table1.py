"""Table 1: the search's winner and the published parameters, the controls, and the published numbers beside ours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.paper import PAPER, published_table
from pipeline.rows import export, refuse_to_drop
from pipeline.search import search
from pipeline.statistics import Sample, unpaired
from pipeline.store import Store
from pipeline.tracking import Stage, Tracker, digest
from pipeline.training import Plan, describe, out, train
from presyn import METHODS, PresynError, Run, make_run
from presyn.benchmarks import SEARCH_SEEDS, Benchmark
from sweeps.execute import Cluster
from sweeps.files import read_benchmark
from sweeps.space import Space, draw, own_options

NAMES = {
    "presynaptic": "Presynaptic Consolidation",
    "sgd": "No Consolidation",
    "bgd": "Bayesian Gradient Descent",
    "ewc": "Elastic Weight Consolidation",
    "joint": "Joint Training",
}
COLUMNS = {
    "published": "published",
    "as_published": "as published",
    "default": "default settings",
    "searched": "tuned once",
    "strict": "tuned once, one eta0",
}
COME_ALONG = PAPER.parent
"""Results whose winners are used where a folder of one's own has none."""
NO_SETTINGS = {"ewc": "tuned on Permuted and on Split MNIST"}  # instead of "as published", where the paper names none


@dataclass(frozen=True)
class Settings:
    """What a table is made of."""

    space: Space
    seeds: tuple[int, ...]
    benchmarks: tuple[str, ...]


def tuned(method: str, space: str, results: Path) -> dict[str, Any] | None:
    """The winner of a search of a method, of these results or else of those that come along, with the options it fixed."""
    for folder in (results, COME_ALONG):
        path = folder / "search" / space / "best.yaml"
        if path.exists():
            best = yaml.safe_load(path.read_text())
            return own_options(method, best["space"]["fixed"]) | best["params"]
    return None


def _published_settings(method: str, benchmark: Benchmark, results: Path) -> tuple[str, dict[str, Any] | None]:
    """What the settings are called, and the overrides that give them; None if there are none for this benchmark."""
    kind = METHODS[method]
    if method == "ewc":  # the paper names none, so they are searched on one benchmark of each kind
        space = "ewc-permuted-mnist" if benchmark.permuted else "ewc-split-mnist"
        return "as_published", tuned("ewc", space, results) if benchmark.name in published_benchmarks() else None
    if kind.joint or benchmark.name in kind.published:
        known = benchmark.name in (published_benchmarks() if kind.joint else kind.published)
        return "as_published" if known and benchmark.dataset != "digits" else "default", {}  # nobody published the digits
    return "default", None if kind.published else {}


def _carried(method: str, benchmark: Benchmark, once: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The readings of what carrying over parameters means."""
    # eta0 is what the paper sets by hand, for its own rule, for each kind of benchmark; on one of your own nobody did.
    by_hand = method == "presynaptic" and not benchmark.permuted and benchmark.name in METHODS[method].published
    yield "searched", {k: v for k, v in once.items() if k != "eta0" or not by_hand}
    if method == "presynaptic" and "eta0" in once:
        yield "strict", once


def published_benchmarks() -> set[str]:
    """Those of the published table."""
    return {benchmark for _, benchmark in published_table()}


def wanted(settings: Settings, winner: dict[str, Any] | None, results: Path) -> list[tuple[str, Run]]:
    """(parameters, run) of every run of the table; without a winner, those that do not need it.

    as_published: the published settings; default: of a method that has none. searched: tuned once, on Permuted MNIST, and
    carried over; eta0 of presynaptic consolidation as the paper sets it by hand for each kind of benchmark. strict: that eta0
    carried over as well.

    Raises:
        PresynError: seeds of searches, or a space whose winner is not the table's to carry over.
    """
    space = settings.space
    if max(settings.seeds) >= SEARCH_SEEDS:
        raise PresynError(f"seeds from {SEARCH_SEEDS} on are for searches; report with smaller ones.")
    if not space.benchmark.permuted:
        raise PresynError(
            f"Table 1 carries over what was searched on permuted tasks, but {space.name} searches {space.benchmark.name}."
        )
    runs = []
    for name in settings.benchmarks:
        benchmark = read_benchmark(name)
        for seed in settings.seeds:
            for method in METHODS:
                label, values = _published_settings(method, benchmark, results)
                readings = [] if values is None else [(label, values)]
                if method == space.method:
                    once = None if winner is None else own_options(method, space.fixed) | winner
                else:
                    real = benchmark.name in published_benchmarks()
                    once = tuned(method, f"{method}-permuted-mnist", results) if real else None
                readings += _carried(method, benchmark, once) if once else []
                runs += [(label, make_run(method, benchmark, seed, values)) for label, values in readings]
    return runs


def table1(
    settings: Settings, store: Store, cluster: Cluster, uri: str, results: Path, dry_run: bool = False, so_far: bool = False
) -> pd.DataFrame | None:
    """Search, transfer, controls, table; returns the table, or None for a dry run.

    With so_far, the table is made of the runs that are in the store, with the winner that was found last; nothing is trained,
    and MLflow waits for the whole.

    Raises:
        PresynError: nothing to make a table of, or rows of another table would be overwritten.
    """
    space, plan = settings.space, Plan(store, cluster)
    if so_far:
        labelled = [
            (label, plan.add(run)) for label, run in wanted(settings, tuned(space.method, space.name, results), results)
        ]
        known = [(label, i) for label, i in labelled if i in plan.rows]
        if not known:
            raise PresynError(f"None of the table's runs is in the store {store.root} yet.")
        _refuse_to_drop(results, [(label, plan.runs[i]) for label, i in known])
        return _make(plan, known, settings, results)[0]
    stand_in = draw(space)[0].params  # before the search is done its winner is not known; any of its parameters takes as long
    if not dry_run:
        _refuse_to_drop(results, wanted(settings, stand_in, results))
    (winner,) = search([space], store, cluster, uri, results, dry_run)
    labelled = [(label, plan.add(run)) for label, run in wanted(settings, winner.params if winner else stand_in, results)]
    describe(plan, "Table 1" + (" (with a stand-in for the search's winner)" if winner is None else ""))
    if dry_run:
        return None
    ids = sorted({i for _, i in labelled})
    stage = Stage("table1", f"table1/{digest(ids)}", f"table 1, {len(settings.seeds)} seeds", ids)
    stage.save(store)
    tracker = Tracker(uri, store, stage)
    train(plan, tracker, "table 1")
    table, files = _make(plan, labelled, settings, results)
    stage.params = {"seeds": list(settings.seeds), "trials": space.trials}
    stage.files = [str(f.absolute()) for f in files]
    stage.table = str((results / "table1" / "table1.csv").absolute())
    stage.save(store)
    tracker.finish()
    return table


def _refuse_to_drop(results: Path, runs: Sequence[tuple[str, Run]]) -> None:
    keys = [(run.method, run.benchmark.name, label, run.seed) for label, run in runs]
    refuse_to_drop(results / "table1" / "runs.csv", ["method", "benchmark", "parameters", "seed"], keys)


def _make(plan: Plan, labelled: list[tuple[str, str]], settings: Settings, results: Path) -> tuple[pd.DataFrame, list[Path]]:
    """The table of these runs, and the files it was written to."""
    rows = results / "table1" / "runs.csv"
    frame = export(rows, [(plan.rows[i], {"stage": "table1", "parameters": label}) for label, i in labelled])
    table = make_table(frame, settings.benchmarks)
    return table, [rows, *write(table, settings.benchmarks, rows.parent)]


def make_table(frame: pd.DataFrame, benchmarks: tuple[str, ...]) -> pd.DataFrame:
    """The table in long form, from rows alone: one line for each method, benchmark and parameters, accuracies in %.

    Columns: method, benchmark, parameters, ours (mean), standard_error, n, lost (runs that did not finish), published,
    published_error, t and p of Welch's test against the published mean.
    """
    paper = published_table()
    lines = []
    for method in dict.fromkeys([*NAMES, *METHODS]):
        for benchmark in benchmarks:
            for parameters in [c for c in COLUMNS if c != "published"]:
                of = frame[(frame.method == method) & (frame.benchmark == benchmark) & (frame.parameters == parameters)]
                if of.empty:
                    continue
                done = of[of.status == "finished"].mean_accuracy
                ours = Sample.of((100 * done).tolist()) if len(done) else Sample(float("nan"), float("nan"), 0)
                theirs = paper.get((method, benchmark))
                d = unpaired(ours, theirs) if theirs else None
                lines.append(
                    {
                        "method": method,
                        "benchmark": benchmark,
                        "parameters": parameters,
                        "ours": ours.mean,
                        "standard_error": ours.standard_error,
                        "n": ours.n,
                        "lost": len(of) - len(done),
                        "published": theirs.mean if theirs else float("nan"),
                        "published_error": theirs.standard_error if theirs else float("nan"),
                        "t": d.t if d else float("nan"),
                        "p": d.p if d else float("nan"),
                    }
                )
    return pd.DataFrame(lines)


def display(table: pd.DataFrame, benchmarks: tuple[str, ...]) -> pd.DataFrame:
    """The table as people read it: a row for each method and kind of number, a column for each benchmark."""
    rows, seeds = [], (table.n + table.lost).max()
    for method in table.method.unique():
        for column, words in COLUMNS.items():
            cells = [_cell(table[(table.method == method) & (table.benchmark == b)], column, seeds) for b in benchmarks]
            if any(cells):
                words = NO_SETTINGS.get(method, words) if column == "as_published" else words
                rows.append([NAMES.get(method, method), words, *[c or "–" for c in cells]])
    return pd.DataFrame(rows, columns=["accuracy in %", "", *benchmarks])


def _cell(lines: pd.DataFrame, column: str, seeds: int) -> str:
    if column == "published":
        known = lines.dropna(subset="published")
        return "" if known.empty else f"{known.published.iloc[0]:.2f} ± {known.published_error.iloc[0]:.2f}"
    of = lines[lines.parameters == column]
    if of.empty:
        return ""
    line = of.iloc[0]
    p = "" if line.p != line.p else f" (p = {line.p:.3f})" if line.p >= 0.001 else " (p < 0.001)"
    lost = f", {line.lost} lost" if line.lost else ""
    fewer = f", n = {line.n}" if 1 < line.n < seeds - line.lost else ""
    return f"{Sample(line.ours, line.standard_error, line.n)}{p}{fewer}{lost}"


CAPTION = (
    "Mean accuracy over tasks after the last task, ± standard error (ddof 1) over seeds; p of Welch's test against the "
    "published mean. Tuned once: parameters searched on Permuted MNIST and carried over; eta0 of Presynaptic Consolidation is "
    "set by hand for each kind of benchmark, as in the paper, except in the row of one eta0."
)
DEMONSTRATION = "scikit-learn's digits: a demonstration of the pipeline, which says nothing about the paper"


def title(benchmarks: tuple[str, ...]) -> str:
    """What the table is of."""
    return f"Table 1 on {DEMONSTRATION}" if all(b.endswith("digits") for b in benchmarks) else "Table 1"


def write(table: pd.DataFrame, benchmarks: tuple[str, ...], folder: Path) -> list[Path]:
    """Write the table as CSV, Markdown, LaTeX and a picture; returns the files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = display(table, benchmarks)
    names = {kind: folder / f"table1.{kind}" for kind in ("csv", "md", "tex", "png")}
    table.round(4).to_csv(names["csv"], index=False)
    names["md"].write_text(f"{title(benchmarks)}\n\n{shown.to_markdown(index=False)}\n\n{CAPTION}\n")
    latex = shown.map(lambda cell: cell.replace("±", r"$\pm$").replace("–", "--").replace("<", "$<$"))
    names["tex"].write_text(
        latex.style.hide(axis="index")
        .to_latex(hrules=True, caption=f"{title(benchmarks)}. {CAPTION}", label="tab:table1")
        .replace("%", r"\%")
    )
    figure, axes = plt.subplots(figsize=(3.0 + 2.6 * len(benchmarks), 0.6 + 0.34 * len(shown)))
    axes.axis("off")
    drawn = axes.table(cellText=shown.values.tolist(), colLabels=list(shown.columns), loc="center", cellLoc="left")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(9)
    drawn.auto_set_column_width(list(range(len(shown.columns))))
    drawn.scale(1, 1.3)
    figure.savefig(names["png"], dpi=150, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return list(names.values())


def show(table: pd.DataFrame, benchmarks: tuple[str, ...]) -> None:
    """The table on the terminal."""
    from rich.table import Table

    shown = display(table, benchmarks)
    grid = Table(title=title(benchmarks), caption=CAPTION)
    for name in shown.columns:
        grid.add_column(name)
    for row in shown.itertuples(index=False):
        grid.add_row(*row)
    out.print(grid)
