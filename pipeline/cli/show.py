"""What the terminal and programs see of runs."""

import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.table import Table

from pipeline.cli.choose import last_figures
from pipeline.cli.option_docs import show_value
from pipeline.cli.tables import console, print_table
from pipeline.records.repeat import all_options, changed_settings, repeat_command, setting
from pipeline.records.row import Row
from pipeline.report.tables import grid
from presyn.code_digest import known_digests


def print_shown(stage: Any, made: Any) -> None:
    """Print what a stage shows at the end."""
    if isinstance(made.shown, pd.DataFrame):
        print_table(grid(made.shown, stage.title))
    elif isinstance(made.shown, Table):
        print_table(made.shown)
    elif made.shown is not None:
        console.print(made.shown)


def as_json(rows: Sequence[Row]) -> str:
    """The one JSON object of `presyn run --json`: for each run what it is, what came out, and with which versions, where."""
    keys = ("status", "reason", "mean_accuracy", "forgetting", "accuracy", "loss", "figures", "seconds", "run_id")
    runs = [
        {
            **{k: row.config[k] for k in ("method", "benchmark", "seed")},
            **{k: _finite(row.as_dict()[k]) for k in keys},
            "config": row.config,
            "provenance": row.origin,
        }
        for row in rows
    ]
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
    last = [last_figures(row) for row in rows]
    names = sorted({name for figures in last for name in figures})
    table = Table("seed", "mean accuracy", "forgetting", *names, "time", "run id")
    for row, figures in zip(rows, last, strict=True):
        accuracy = f"{row.mean_accuracy:.2%}" if row.mean_accuracy is not None else row.status
        forgetting = "–" if row.forgetting is None else f"{100 * row.forgetting:.2f} points"
        values = [show_figure(figures[name]) if name in figures else "–" for name in names]
        table.add_row(str(row.config["seed"]), accuracy, forgetting, *values, f"{sum(row.record.seconds):.0f} s", row.run_id)
    print_table(table)
    done = [100 * row.mean_accuracy for row in rows if row.mean_accuracy is not None]
    if len(done) > 1:
        from pipeline.report.statistics import Sample  # scipy takes a second, which a list of runs need not wait for

        console.print(f"{Sample.from_values(done)} % (mean ± standard error over {len(done)} seeds)", highlight=False)


def print_list(rows: Sequence[Row]) -> None:
    """A line for each run, with the settings in which it departs from the published ones; these go on below if need be."""
    lines = [("run id", "method", "benchmark", "seed", "accuracy", "settings")]
    for row in rows:
        accuracy = row.status if row.mean_accuracy is None else f"{row.mean_accuracy:.2%}"
        changed = {name: value for name, value in changed_settings(row.config).items() if name != "name"}  # a column has it
        settings = " ".join(setting(name, value).replace(", ", ",") for name, value in changed.items())
        config = row.config
        lines.append((row.run_id, config["method"], config["benchmark"], str(config["seed"]), accuracy, settings))
    widths = [max(map(len, column)) for column in list(zip(*lines, strict=True))[:-1]]
    for line in lines:
        fixed, settings = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]
        beside = console.width - len(fixed) - 2 >= max(map(len, settings.split()), default=0)
        indent = "    " if not beside else " " * (len(fixed) + 2)
        width = max(40, console.width)
        wrapped = textwrap.TextWrapper(width, indent, indent, break_long_words=False, break_on_hyphens=False).wrap(settings)
        if beside and wrapped:
            wrapped[0] = fixed + wrapped[0][len(fixed) :]
        print(*(wrapped if beside and wrapped else [fixed.rstrip(), *wrapped]), sep="\n")


def print_comparison(rows: Sequence[Row]) -> None:
    """The options in which runs differ, what came out, and where and with what they were trained."""
    for title, values in (
        ("options that differ", [all_options(row.config) for row in rows]),
        ("what came out", [_outcome(row) for row in rows]),
        ("where and with what, where that differs", [row.origin for row in rows]),
    ):
        names = list(dict.fromkeys(name for value in values for name in value))
        if title != "what came out":
            names = [n for n in names if len({json.dumps(value.get(n)) for value in values}) > 1]
        table = Table("", *(row.run_id for row in rows), title=title)
        for name in names:
            table.add_row(name, *(_shown(value[name]) if name in value else "–" for value in values))
        if names:
            print_table(table)
        else:
            console.print(f"{title}: none", highlight=False)


def _outcome(row: Row) -> dict[str, Any]:
    """What came out of a run, as text."""
    tasks = row.record.accuracy[-1] if row.record.accuracy else []
    accuracies = {f"accuracy on task {j + 1}": "–" if a is None else f"{a:.2%}" for j, a in enumerate(tasks)}
    figures = {name: show_figure(value) for name, value in last_figures(row).items()}
    forgetting = "–" if row.forgetting is None else f"{100 * row.forgetting:.2f} points"
    mean = "–" if row.mean_accuracy is None else f"{row.mean_accuracy:.2%}"
    loss = row.record.loss[-1] if row.record.loss else math.nan
    first = {"status": row.status, "mean accuracy": mean, "forgetting": forgetting}
    return {**first, **accuracies, "loss": show_figure(loss), **figures, "time": f"{sum(row.record.seconds):.0f} s"}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else show_value(value)


def show_figure(value: float) -> str:
    """A figure to three digits after the point, or to three significant ones where these would be lost."""
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"


def print_row(row: Row) -> None:
    """Print a run's configuration, results, provenance, and the command that repeats it."""
    print_rows([row])
    for title, values in (("config", row.config), ("provenance", row.origin)):
        console.print(title, style="bold")
        for k, v in values.items():
            console.print(f"  {k}: {v}", highlight=False)
    if row.changed_code and row.config["method"] in known_digests():
        rules = f"version {row.provenance['rules_version']} of the rules"
        console.print(f"Its code, {row.changed_code}, was not known to give the numbers of {rules}.", highlight=False)
    if row.record.reason:
        console.print(f"{row.status}: {row.record.reason}", highlight=False)
    console.print("accuracy (row: after training task i; column: on task j)", style="bold")
    for line in row.record.accuracy:
        console.print("  " + " ".join("  –  " if a is None else f"{a:.3f}" for a in line), highlight=False)
    console.print("repeat it", style="bold")
    print(repeat_command(row.config, row.provenance, row.arithmetic) + " --fresh")
