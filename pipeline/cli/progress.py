"""How far a command that uses the store is, as the store and its checkpoints tell it to anybody."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

import filelock

from pipeline.plan import pretty
from pipeline.records.files import file_lock
from pipeline.records.mlflow.notes import Note, read_notes
from pipeline.records.store import Holder, Store
from sweeps.checkpoints import segments_in_name


def describe_progress(store: Store) -> Iterator[str]:
    """Lines on who uses a store, and on each stage that wants runs which are not finished."""
    finished = set(store.ids())
    yield f"store {store.root}: {len(finished)} runs finished"
    holder = _holder(store)
    no_holder = "No command uses it now. A command that was stopped goes on when it is given again."
    yield no_holder if holder is None else f"It is in use by {holder}."
    segments = _segments_by_run(store)
    unfinished = [note for note in read_notes(store) if not set(note.run_ids) <= finished]
    for note in unfinished:
        yield from _describe_stage(store, note, finished, segments, holder)
    if holder and not unfinished:
        yield "Every run that a stage has asked for is finished."


def _holder(store: Store) -> Holder | None:
    """The command that holds the store; None if none does."""
    holder = store.holder()
    if holder is None:  # its file is removed at the end, so the lock, which others wait for, is left alone
        return None
    try:
        file_lock(store.root / "lock", timeout=0).release()
        return None  # the command was killed
    except (filelock.Timeout, OSError):  # a store that may only be read cannot be asked whether the command still holds it
        return holder


def _segments_by_run(store: Store) -> dict[str, int]:
    """Segments behind each run that has a checkpoint."""
    paths = store.session_checkpoints().index()
    return {run_id: segments_in_name(files[0]) for run_id, files in paths.items()}


def _describe_stage(
    store: Store, note: Note, finished: set[str], segments: Mapping[str, int], holder: Holder | None
) -> Iterator[str]:
    """A line of counts of a stage, and one on how far its runs are."""
    ids = set(note.run_ids)
    done, begun = ids & finished, {i: segments[i] for i in ids - finished if i in segments}
    waiting = len(ids) - len(done) - len(begun)
    title = note.name or note.experiment
    word = "running" if holder else "begun"
    yield (
        f"{title}: {len(ids)} runs, {len(done)} finished, {len(begun)} {word}, "
        f"{waiting} waiting{' or in their first task' if holder else ''}{_time_left(store, done, waiting + len(begun), holder)}"
    )
    if begun:
        counts = sorted(Counter((segment, note.segments.get(i, 0)) for i, segment in begun.items()).items())
        places = [(n, f"segment {segment}" + (f" of {total}" if total else "")) for (segment, total), n in counts]
        yield "  checkpoints: " + ", ".join(f"{n} after {place}" for n, place in places)
    if note.steps:
        yield f"  {note.steps[-1]['message'].removeprefix(f'{title}: ')}; more runs may follow"
    if note.failed:
        yield f"  it failed: {note.failed}"


def _time_left(store: Store, done: set[str], left: int, holder: Holder | None) -> str:
    """How long the rest takes at the pace since the command began; nothing before its first run is finished."""
    if holder is None:
        return ""
    paths = [store.results / f"{run_id}.json" for run_id in done]
    new = sum(path.exists() and path.stat().st_mtime >= holder.since for path in paths)
    return f"; about {pretty(left * (time.time() - holder.since) / new)} left at this pace" if new and left else ""
