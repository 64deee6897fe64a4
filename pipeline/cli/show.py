"""What the terminal and programs see of runs."""

import json
import math
import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from pipeline.records.row import Row
from pipeline.records.store import Store
from pipeline.report.statistics import Sample
from presyn import BENCHMARKS, METHODS, PresynError, make_run
from presyn.benchmarks import PATTERNS
from presyn.methods import PERCEPTRONS

out = Console(markup=False, emoji=False)  # names are shown as they are


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
    grid = Table("seed", "mean accuracy", "forgetting", *names, "time", Column("run id", no_wrap=True, min_width=16))
    for row, figures in zip(rows, last, strict=True):
        accuracy = f"{row.mean_accuracy:.2%}" if row.mean_accuracy is not None else row.status
        forgetting = "–" if row.forgetting is None else f"{100 * row.forgetting:.2f} points"
        values = [f"{figures[name]:.3f}" if name in figures else "–" for name in names]
        grid.add_row(str(row.config["seed"]), accuracy, forgetting, *values, f"{sum(row.record.seconds):.0f} s", row.run_id)
    out.print(grid)
    done = [100 * row.mean_accuracy for row in rows if row.mean_accuracy is not None]
    if len(done) > 1:
        out.print(f"{Sample.of(done)} % (mean ± standard error over {len(done)} seeds)", highlight=False)


def repeat_command(config: dict[str, Any]) -> str:
    """The command that repeats a run; one of a benchmark of somebody's own, on the one that comes along and is the nearest."""
    known = {"method", "benchmark", "seed"}
    fields = {k: v for k, v in config.items() if k not in known}
    come_along = [*BENCHMARKS.values(), PATTERNS]
    if config["benchmark"] not in [b.name for b in come_along]:
        nearest = next(b.name for b in come_along if b.kind == config["kind"])
        config = {**config, "benchmark": nearest}
    default = (
        make_run(config["method"], config["benchmark"], config["seed"]).config()
        if config["method"] in {*METHODS, *PERCEPTRONS}
        else {}
    )
    changed = [f"{k}={json.dumps(v) if not isinstance(v, str) else v}" for k, v in fields.items() if default.get(k) != v]
    words = ["presyn", "run", "--method", config["method"], "--benchmark", config["benchmark"], "--seeds", str(config["seed"])]
    return shlex.join(words + (["--set", *changed] if changed else []))


def find(run_id: str, store: Store) -> Row:
    """The row of a run whose id begins so.

    Raises:
        PresynError: there is none, or more than one.
    """
    found = [i for i in store.ids() if i.startswith(run_id)]
    row = store.get(found[0]) if len(found) == 1 else None
    if row is None:
        problem = f"{len(found)} runs begin with" if found else "there is no run"
        raise PresynError(
            f"In the store {store.root} {problem} {run_id!r}. Run ids are in the CSVs under results/, "
            "which go into the store with: presyn import"
        )
    return row


def show(row: Row) -> None:
    """Print a run's configuration, results, provenance, and the command that repeats it."""
    print_rows([row])
    for title, values in (("config", row.config), ("provenance", row.provenance)):
        out.print(title, style="bold")
        for k, v in values.items():
            out.print(f"  {k}: {v}", highlight=False)
    if row.record.reason:
        out.print(f"{row.status}: {row.record.reason}", highlight=False)
    out.print("accuracy (row: after training task i; column: on task j)", style="bold")
    for line in row.record.accuracy:
        out.print("  " + " ".join("  –  " if a is None else f"{a:.3f}" for a in line), highlight=False)
    out.print("repeat it", style="bold")
    print(repeat_command(row.config) + " --fresh")
