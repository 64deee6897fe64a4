"""Runs of a store by the beginnings of their ids."""

from collections.abc import Sequence

from pipeline.records.row import Row
from pipeline.records.store import Store
from presyn import PresynError

MOST_NAMED = 5
"""Runs that a message names."""


def find_id(prefix: str, ids: Sequence[str], store: Store) -> str:
    """The id that begins so.

    Raises:
        PresynError: there is none, or more than one.
    """
    beginning = [run_id for run_id in ids if run_id.startswith(prefix)]
    if len(beginning) == 1:
        return beginning[0]
    if beginning:
        named = ", ".join(beginning[:MOST_NAMED]) + (", …" if len(beginning) > MOST_NAMED else "")
        raise PresynError(f"In the store {store.root} {len(beginning)} runs begin with {prefix!r}: {named}. Give more letters.")
    raise PresynError(
        f"In the store {store.root} there is no run {prefix!r}. Run ids are in `presyn list`, and in the CSVs under results/, "
        "which go into the store with: presyn import"
    )


def find_row(run_id: str, store: Store) -> Row:
    """The row of a run whose id begins so.

    Raises:
        PresynError: there is none, or more than one.
    """
    return find_rows([run_id], store)[0]


def find_rows(prefixes: Sequence[str], store: Store) -> list[Row]:
    """The rows of runs whose ids begin so, each once; of none, all rows of the store.

    Raises:
        PresynError: an id has no run, or more than one.
    """
    ids = store.ids()
    chosen = dict.fromkeys(find_id(prefix, ids, store) for prefix in prefixes) if prefixes else ids
    rows = [row for run_id in chosen if (row := store.get(run_id)) is not None]
    if prefixes and len(rows) < len(chosen):
        raise PresynError(f"A run in {store.root} was damaged, and is set aside: train it again.")
    return rows
