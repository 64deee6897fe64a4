"""Table 1: the search's winner and the published parameters, the controls, and the published numbers beside ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline.paper import published_table
from pipeline.rows import export
from pipeline.search import search
from pipeline.statistics import Sample, unpaired
from pipeline.store import Store
from pipeline.tracking import Stage, Tracker
from pipeline.training import Plan, describe, out, train
from presyn import METHODS, PresynError, Run, make_run
from presyn.benchmarks import SEARCH_SEEDS, Benchmark
from sweeps.execute import Cluster
from sweeps.files import read_benchmark
from sweeps.space import Space, draw

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
    "searched": "tuned once",
    "strict": "tuned once, one eta0",
}
NO_SETTINGS = {"ewc": "tuned on Permuted and on Split MNIST"}  # instead of "as published", where the paper names none


@dataclass(frozen=True)
class Settings:
    """What a table is made of."""

    space: Space
    seeds: tuple[int, ...]
    benchmarks: tuple[str, ...]


def tuned(method: str, benchmark: str, results: Path) -> dict[str, Any] | None:
    """The winner of the committed search of a method on a benchmark, with the options that the search fixed, or None."""
    path = results / "search" / f"{method}-{benchmark}" / "best.yaml"
    if not path.exists():
        return None
    best = yaml.safe_load(path.read_text())
    return _options(method, best["space"]["fixed"]) | best["params"]


def _options(method: str, fixed: dict[str, Any]) -> dict[str, Any]:
    """What a search fixed of the method itself, rather than of the benchmark."""
    kind = METHODS[method]
    return {k: v for k, v in fixed.items() if k in kind.Options.names() or k in kind.preset_names}


def _as_published(method: str, benchmark: Benchmark, results: Path) -> dict[str, Any] | None:
    """Overrides that give the published settings of a method; None if there are none for this benchmark."""
    if method == "ewc":  # the paper names none, so they are searched on one benchmark of each kind
        known = benchmark.name in published_benchmarks()
        return tuned("ewc", "permuted-mnist" if benchmark.permuted else "split-mnist", results) if known else None
    return None if method == "bgd" and benchmark.name not in METHODS["bgd"].published else {}


def published_benchmarks() -> set[str]:
    """Those of the published table."""
    return {benchmark for _, benchmark in published_table()}


def wanted(settings: Settings, winner: dict[str, Any] | None, results: Path) -> list[tuple[str, Run]]:
    """(parameters, run) of every run of the table; without a winner, those that do not need it.

    as_published: the published settings. searched: tuned once, on Permuted MNIST, and carried over; eta0 of presynaptic
    consolidation as the paper sets it by hand for each kind of benchmark. strict: that eta0 carried over as well.
    """
    if max(settings.seeds) >= SEARCH_SEEDS:
        raise PresynError(f"seeds from {SEARCH_SEEDS} on are for searches; report with smaller ones.")
    runs = []
    for name in settings.benchmarks:
        benchmark = read_benchmark(name)
        for seed in settings.seeds:
            for method in METHODS:
                as_published = _as_published(method, benchmark, results)
                if as_published is not None:
                    runs.append(("as_published", make_run(method, benchmark, seed, as_published)))
                once = tuned(method, "permuted-mnist", results)
                if once and method != settings.space.method and benchmark.name in published_benchmarks():
                    runs.append(("searched", make_run(method, benchmark, seed, once)))
            if winner is not None:
                fixed = _options(settings.space.method, settings.space.fixed)
                # eta0 is what the paper sets by hand, for its own rule, for each kind of benchmark.
                by_hand = settings.space.method == "presynaptic" and not benchmark.permuted
                carried = fixed | {k: v for k, v in winner.items() if k != "eta0" or not by_hand}
                runs.append(("searched", make_run(settings.space.method, benchmark, seed, carried)))
                if "eta0" in winner and settings.space.method == "presynaptic":
                    runs.append(("strict", make_run(settings.space.method, benchmark, seed, {**fixed, **winner})))
    return runs


def table1(
    settings: Settings, store: Store, cluster: Cluster, uri: str, results: Path, dry_run: bool = False, so_far: bool = False
) -> pd.DataFrame | None:
    """Search, transfer, controls, table; returns the table, or None for a dry run.

    With so_far, the table is made of the runs that are in the store; nothing is trained, and MLflow waits for the whole.
    """
    published_table()  # a broken installation is found now
    (winner,) = search([settings.space], store, cluster, uri, results, dry_run or so_far)
    plan = Plan(store, cluster)
    # Before the search is done its winner is not known; any of its parameters takes as long.
    params = winner.params if winner else draw(settings.space)[0].params
    labelled = [(label, plan.add(run)) for label, run in wanted(settings, params, results)]
    describe(plan, "Table 1" + (" (with a stand-in for the search's winner)" if winner is None else ""))
    if dry_run:
        return None
    if so_far:
        known = [(label, i) for label, i in labelled if i in plan.rows]
        if not known:
            raise PresynError(f"None of the table's runs is in the store {store.root} yet.")
        return _make(plan, known, settings, results)[0]
    ids = sorted({i for _, i in labelled})
    seeds, space = "-".join(map(str, settings.seeds)), settings.space
    identity = f"table1/{'-'.join(settings.benchmarks)}/{seeds}/{space.name}-{space.trials}"
    stage = Stage("table1", identity, f"table 1, {len(settings.seeds)} seeds", ids)
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
            for parameters in ("as_published", "searched", "strict"):
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
