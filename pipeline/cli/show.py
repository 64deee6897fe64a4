"""What the terminal and programs see of runs."""

import json
import math
import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from pipeline.records.row import Row
from pipeline.records.store import Store
from pipeline.report.statistics import Sample
from pipeline.report.tables import grid
from presyn import BENCHMARKS, METHODS, PresynError, make_run
from presyn.benchmarks import PATTERNS
from presyn.methods import PERCEPTRONS

console = Console(markup=False, emoji=False)  # names are shown as they are


def print_shown(stage: Any, made: Any) -> None:
    """Print what a stage shows at the end."""
    if isinstance(made.shown, pd.DataFrame):
        console.print(grid(made.shown, stage.title))
    elif made.shown is not None:
        console.print(made.shown)


def as_json(rows: Sequence[Row]) -> str:
    """The one JSON object of `presyn run --json`."""
    keys = ("status", "reason", "mean_accuracy", "forgetting", "accuracy", "loss", "figures", "seconds", "run_id")
    runs = [{"seed": row.config["seed"], **{k: _finite(row.as_dict()[k]) for k in keys}} for row in rows]
    return json.dumps({"runs": runs}, allow_nan=False)


def _finite(value: Any) -> Any:
    """JSON has no nan: None instead."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_rows(rows: Sequence[Row]) -> None:
    """A line for each run, and their mean."""
    last = [{k: v[-1] for k, v in row.record.figures.items() if v and not isinstance(v[-1], list)} for row in rows]
    names = sorted({name for figures in last for name in figures})
    table = Table("seed", "mean accuracy", "forgetting", *names, "time", Column("run id", no_wrap=True, min_width=16))
    for row, figures in zip(rows, last, strict=True):
        accuracy = f"{row.mean_accuracy:.2%}" if row.mean_accuracy is not None else row.status
        forgetting = "–" if row.forgetting is None else f"{100 * row.forgetting:.2f} points"
        values = [f"{figures[name]:.3f}" if name in figures else "–" for name in names]
        table.add_row(str(row.config["seed"]), accuracy, forgetting, *values, f"{sum(row.record.seconds):.0f} s", row.run_id)
    console.print(table)
    done = [100 * row.mean_accuracy for row in rows if row.mean_accuracy is not None]
    if len(done) > 1:
        console.print(f"{Sample.from_values(done)} % (mean ± standard error over {len(done)} seeds)", highlight=False)


def repeat_command(config: dict[str, Any]) -> str:
    """The command that repeats a run; one of a benchmark of somebody's own, on the one that comes along and is the nearest."""
    fields = {k: v for k, v in config.items() if k not in ("method", "benchmark", "seed")}
    come_along = [*BENCHMARKS.values(), PATTERNS]
    if config["benchmark"] not in [b.name for b in come_along]:
        nearest = next(b.name for b in come_along if b.kind == config["kind"])
        config = {**config, "benchmark": nearest}
    default: dict[str, Any] = {}
    if config["method"] in {*METHODS, *PERCEPTRONS}:
        default = make_run(config["method"], config["benchmark"], config["seed"]).config()
    changed = [f"{k}={json.dumps(v) if not isinstance(v, str) else v}" for k, v in fields.items() if default.get(k) != v]
    words = ["presyn", "run", "--method", config["method"], "--benchmark", config["benchmark"], "--seeds", str(config["seed"])]
    return shlex.join(words + (["--set", *changed] if changed else []))


def find_row(run_id: str, store: Store) -> Row:
    """The row of a run whose id begins so.

    Raises:
        PresynError: there is none, or more than one.
    """
    ids = [i for i in store.ids() if i.startswith(run_id)]
    row = store.get(ids[0]) if len(ids) == 1 else None
    if row is None:
        problem = f"{len(ids)} runs begin with" if ids else "there is no run"
        raise PresynError(
            f"In the store {store.root} {problem} {run_id!r}. Run ids are in the CSVs under results/, "
            "which go into the store with: presyn import"
        )
    return row


def print_row(row: Row) -> None:
    """Print a run's configuration, results, provenance, and the command that repeats it."""
    print_rows([row])
    for title, values in (("config", row.config), ("provenance", row.provenance)):
        console.print(title, style="bold")
        for k, v in values.items():
            console.print(f"  {k}: {v}", highlight=False)
    if row.changed_code:
        rules = f"version {row.provenance['rules_version']} of the rules"
        console.print(f"Its code, {row.changed_code}, was not known to give the numbers of {rules}.", highlight=False)
    if row.record.reason:
        console.print(f"{row.status}: {row.record.reason}", highlight=False)
    console.print("accuracy (row: after training task i; column: on task j)", style="bold")
    for line in row.record.accuracy:
        console.print("  " + " ".join("  –  " if a is None else f"{a:.3f}" for a in line), highlight=False)
    console.print("repeat it", style="bold")
    print(repeat_command(row.config) + " --fresh")
