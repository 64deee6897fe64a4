"""What it would cost to make runs again, and removing them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.plan import pretty
from pipeline.records.csvs import holds_rows
from pipeline.records.mlflow.notes import read_notes
from pipeline.records.row import Row
from pipeline.records.store import Store


def describe_cost(rows: Sequence[Row], results: Path) -> Iterator[str]:
    """A line for each run, and one on where their rows are besides the store."""
    for row in rows:
        config, place = row.config, row.provenance
        where = f"on {place.get('host', 'a machine')} ({place.get('device', 'a device')})"
        came_to = row.status if row.mean_accuracy is None else f"{row.mean_accuracy:.2%}"
        yield (
            f"{row.run_id}: {config['method']} on {config['benchmark']}, seed {config['seed']}, {came_to}; "
            f"making it again takes {pretty(sum(row.record.seconds))}, as long as it took {where}"
        )
    exported = {row.run_id: _files_with(row.run_id, results) for row in rows}
    names = sorted({str(path) for paths in exported.values() for path in paths})
    if names:
        count = sum(map(bool, exported.values()))
        yield f"The rows of {count} are in {', '.join(names)} as well: presyn import brings them back."


def _files_with(run_id: str, results: Path) -> list[Path]:
    """The CSVs under a folder that have a line of a run."""
    paths = sorted(results.rglob("*.csv"))
    return [path for path in paths if run_id in path.read_text(encoding="utf-8", errors="replace") and holds_rows(path)]


def remove_rows(rows: Sequence[Row], store: Store) -> None:
    """Remove rows from the store, with what is kept of the states of their runs; stages no longer name them in MLflow."""
    checkpoints = store.session_checkpoints()
    removed = {row.run_id for row in rows}
    for note in read_notes(store):
        if removed & {*note.run_ids}:
            note.run_ids = [run_id for run_id in note.run_ids if run_id not in removed]
            note.labels = {run_id: labels for run_id, labels in note.labels.items() if run_id not in removed}
            note.save(store)
    checkpoints.remove(*removed)  # in which a stopped command may have left the end of a run
    checkpoints.close()
    for run_id in removed:
        checkpoints.state_path(run_id).unlink(missing_ok=True)
        path = store.results / f"{run_id}.json"
        path.with_suffix(".before").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
