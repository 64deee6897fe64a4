"""`presyn run`: train some runs in this process; `presyn show`: what is known of one."""

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.rows import export, refuse_to_drop
from pipeline.statistics import Sample
from pipeline.store import Row, Store
from pipeline.tracking import Stage, Tracker, stages
from pipeline.training import Plan, out, train
from presyn import BENCHMARKS, METHODS, PresynError, choose_device, make_run
from sweeps.checkpoints import Checkpoints
from sweeps.execute import Cluster
from sweeps.files import read_benchmark


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """['p_up=0.05', 'modulate_lr=false'] as a mapping of plain values.

    Raises:
        PresynError: a word is not FIELD=VALUE.
    """
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise PresynError(f"--set takes FIELD=VALUE, such as p_up=0.05, not {word!r}.")
        try:
            settings[name] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError:
            raise PresynError(f"--set {word}: {value!r} is not a value.") from None
    return settings


def run(
    method: str,
    benchmark: str,
    seeds: Sequence[int],
    settings: dict[str, Any],
    store: Store,
    cluster: Cluster,
    uri: str,
    fresh: bool,
    file: Path | None = None,
) -> list[Row]:
    """Rows of these runs, from the store or by training them here, and written to a file if there is one.

    Raises:
        PresynError: bad input, or the file holds other runs.
    """
    plan = Plan(store, cluster)
    runs = [make_run(method, read_benchmark(benchmark), seed, settings) for seed in seeds]
    ids = [plan.add(r) for r in runs]
    if file:
        refuse_to_drop(file, ["run_id"], [(i,) for i in ids])
    if fresh:  # set aside now, so that the same command without --fresh goes on where this one was stopped
        choose_device(cluster.device)  # what cannot be trained here is not set aside
        plan.rows.clear()
        for run_id in ids:
            store.set_aside(run_id)
            Checkpoints(store.checkpoints, "").remove(run_id)
    earlier = [i for s in stages(store) if s.experiment == "run" for i in s.run_ids]
    stage = Stage("run", "run", run_ids=sorted({*earlier, *ids}))
    stage.save(store)
    train(plan, Tracker(uri, store, stage), f"{method} on {benchmark}", here=True)
    rows = [plan.rows[i] for i in ids]
    if file:
        export(file, [(row, {"stage": "run"}) for row in rows])
    return rows


def as_json(rows: Sequence[Row]) -> str:
    """The one JSON object of `presyn run --json`."""
    keys = ("status", "reason", "mean_accuracy", "forgetting", "accuracy", "loss", "figures", "seconds", "run_id")
    runs = [{"seed": row["config"]["seed"], **{k: _finite(row[k]) for k in keys}} for row in rows]
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
    from rich.table import Table

    figures = sorted({k for row in rows for k in row["figures"]})
    grid = Table("seed", "mean accuracy", "forgetting", *figures, "time", "run id")
    for row in rows:
        accuracy = f"{row['mean_accuracy']:.2%}" if row["status"] == "finished" else row["status"]
        forgetting = "–" if row["forgetting"] is None else f"{100 * row['forgetting']:.2f} points"
        last = [f"{row['figures'][k][-1]:.3f}" for k in figures]
        grid.add_row(str(row["config"]["seed"]), accuracy, forgetting, *last, f"{sum(row['seconds']):.0f} s", row["run_id"])
    out.print(grid)
    done = [100 * row["mean_accuracy"] for row in rows if row["status"] == "finished"]
    if len(done) > 1:
        out.print(f"{Sample.of(done)} % (mean ± standard error over {len(done)} seeds)", highlight=False)


def repeat_command(config: dict[str, Any]) -> str:
    """The command that repeats a run; one of a benchmark of somebody's own, on the one that comes along and is the nearest."""
    known = {"method", "benchmark", "seed"}
    fields = {k: v for k, v in config.items() if k not in known}
    if config["benchmark"] not in BENCHMARKS:
        nearest = next(b.name for b in BENCHMARKS.values() if b.kind == config["kind"])
        config = {**config, "benchmark": nearest}
    default = make_run(config["method"], config["benchmark"], config["seed"]).config() if config["method"] in METHODS else {}
    changed = [f"{k}={json.dumps(v) if not isinstance(v, str) else v}" for k, v in fields.items() if default.get(k) != v]
    words = ["presyn", "run", "--method", config["method"], "--benchmark", config["benchmark"], "--seeds", str(config["seed"])]
    return shlex.join(words + (["--set", *changed] if changed else []))


def show(run_id: str, store: Store) -> None:
    """Print a run's configuration, results, provenance, and the command that repeats it.

    Raises:
        PresynError: it is not in the store.
    """
    found = [i for i in store.ids() if i.startswith(run_id)]
    row = store.get(found[0]) if len(found) == 1 else None
    if row is None:
        problem = f"{len(found)} runs begin with" if found else "there is no run"
        raise PresynError(
            f"In the store {store.root} {problem} {run_id!r}. Run ids are in the CSVs under results/, "
            "which go into the store with: presyn import"
        )
    print_rows([row])
    for title in ("config", "provenance"):
        out.print(f"[bold]{title}[/]")
        for k, v in row[title].items():
            out.print(f"  {k}: {v}", highlight=False)
    if row["reason"]:
        out.print(f"{row['status']}: {row['reason']}", highlight=False)
    out.print("[bold]accuracy[/] (row: after training task i; column: on task j)")
    for line in row["accuracy"]:
        out.print("  " + " ".join("  –  " if a is None else f"{a:.3f}" for a in line), highlight=False)
    out.print("[bold]repeat it[/]")
    print(repeat_command(row["config"]) + " --fresh")
