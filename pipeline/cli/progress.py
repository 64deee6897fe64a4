"""How far a command that uses the store is, as the store and its checkpoints tell it to anybody."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import filelock

from pipeline.plan import pretty
from pipeline.records.files import file_lock
from pipeline.records.mlflow.notes import Note, read_notes
from pipeline.records.store import Store
from sweeps.checkpoints import segments_in_name

HOLDER_TIME = "%Y-%m-%d %H:%M:%S"
"""How the file of the command that holds a store writes the time, which is that of its host."""


def describe_progress(store: Store) -> Iterator[str]:
    """Lines on who uses a store, and on each stage that wants runs which are not finished."""
    finished = set(store.ids())
    yield f"store {store.root}: {len(finished)} runs finished"
    holder = _read_holder(store)
    yield _describe_holder(holder)
    segments = _segments_by_run(store)
    unfinished = [note for note in read_notes(store) if not set(note.run_ids) <= finished]
    for note in unfinished:
        yield from _describe_stage(store, note, finished, segments, holder)
    if holder and not unfinished:
        yield "Every run that a stage has asked for is finished."


def _read_holder(store: Store) -> dict[str, Any]:
    """The command that holds the store, its process, its host, and since when; nothing if none does."""
    try:
        holder = json.loads((store.root / "holder.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is removed at the end, so the lock, which others wait for, is left alone
        return {}
    try:
        file_lock(store.root / "lock", timeout=0).release()
        return {}  # the command was killed
    except (filelock.Timeout, OSError):  # a store that may only be read cannot be asked whether the command still holds it
        return holder if isinstance(holder, dict) else {}


def _describe_holder(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "No command uses it now. A command that was stopped goes on when it is given again."
    place = f", process {holder.get('pid')} on {holder.get('host')}" if "pid" in holder else ""
    since = f", since {holder['since']}" if "since" in holder else ""
    return f"{holder.get('command')} uses it{place}{since}"


def _segments_by_run(store: Store) -> dict[str, int]:
    """Segments behind each run that has a checkpoint."""
    paths = store.session_checkpoints().index()
    return {run_id: segments_in_name(files[0]) for run_id, files in paths.items()}


def _describe_stage(
    store: Store, note: Note, finished: set[str], segments: Mapping[str, int], holder: Mapping[str, Any]
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


def _time_left(store: Store, done: set[str], left: int, holder: Mapping[str, Any]) -> str:
    """How long the rest takes at the pace since the command began; nothing before its first run is finished."""
    try:
        since = time.mktime(time.strptime(holder["since"], HOLDER_TIME))
    except (KeyError, TypeError, ValueError):
        return ""
    paths = [store.results / f"{run_id}.json" for run_id in done]
    new = sum(path.exists() and path.stat().st_mtime >= since for path in paths)
    return f"; about {pretty(left * (time.time() - since) / new)} left at this pace" if new and left else ""
