"""Which runs of the store a command is about, and what can be said of each."""

import json
from collections.abc import Sequence
from typing import Any

from pipeline.cli.options import parse_settings
from pipeline.records.find import find_rows
from pipeline.records.repeat import all_options
from pipeline.records.row import ENDS, Row
from pipeline.records.store import Store
from presyn import METHODS
from presyn.methods import PERCEPTRONS
from presyn.options import reject_unknown


def choose_rows(
    store: Store,
    prefixes: Sequence[str] = (),
    methods: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    statuses: Sequence[str] | None = None,
) -> list[Row]:
    """Rows of the store.

    Args:
        store: Where they are.
        prefixes: Beginnings of their ids; none for all.
        methods, benchmarks, statuses: Names of which each has one; None for any.
        settings: FIELD=VALUE, all of which each has.

    Raises:
        PresynError: an id, a method or a status that there is not, or a field that no run has.
    """
    reject_unknown(statuses or (), ENDS, "status")
    wanted = parse_settings(settings)
    rows = find_rows(prefixes, store)
    reject_unknown(methods or (), {*METHODS, *PERCEPTRONS, *(row.config["method"] for row in rows)}, "method")
    reject_unknown(benchmarks or (), {row.config["benchmark"] for row in rows} or benchmarks or (), "benchmark of a run here")
    values = {row.run_id: all_options(row.config) for row in rows}
    reject_unknown(wanted, {name for options in values.values() for name in options} or wanted, "field of a run here")
    return [
        row
        for row in rows
        if (not methods or row.config["method"] in methods)
        and (not benchmarks or row.config["benchmark"] in benchmarks)
        and (not statuses or row.status in statuses)
        and all(name in values[row.run_id] and _same(values[row.run_id][name], v) for name, v in wanted.items())
    ]


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool) != isinstance(wanted, bool):  # true is no 1
        return False
    return value == wanted or value is None and wanted == "none"


def last_figures(row: Row) -> dict[str, float]:
    """The last value of each figure that is a number."""
    return {k: v[-1] for k, v in row.record.figures.items() if v and not isinstance(v[-1], list)}


def sort_rows(rows: Sequence[Row], name: str, reverse: bool) -> list[Row]:
    """Rows by an option, a figure, mean_accuracy, forgetting, status, seconds or ended; those without it come last.

    Raises:
        PresynError: no row has it.
    """
    values = {row.run_id: _sortable(row, name) for row in rows}
    present = [row for row in rows if values[row.run_id] is not None]
    if rows and not present:
        fields = {"mean_accuracy", "forgetting", "status", "seconds", "ended"}
        fields |= {k for row in rows for k in (*all_options(row.config), *last_figures(row))}
        reject_unknown([name], fields, "field of a run here")
    present.sort(key=lambda row: sort_key(values[row.run_id]), reverse=reverse)
    return present + [row for row in rows if values[row.run_id] is None]


def _sortable(row: Row, name: str) -> Any:
    special = {
        "mean_accuracy": row.mean_accuracy,
        "forgetting": row.forgetting,
        "status": row.status,
        "seconds": sum(row.record.seconds),
        "ended": max(row.record.ended, default=None),
    }
    value = special[name] if name in special else {**all_options(row.config), **last_figures(row)}.get(name)
    return None if value != value else value


def sort_key(value: Any) -> tuple[str, Any]:
    """Numbers as numbers, and whatever else there is as text."""
    return ("", value) if isinstance(value, int | float) else ("text", json.dumps(value))
