"""The manifest of a search: the trials that Optuna draws from its space, frozen in a file.

Random search needs no feedback, so all trials are drawn before anything runs. A sampler that looks at results has a file for
each round, with a digest of the results that the round rests on: a search that was stopped draws the same round again.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from presyn import PresynError
from presyn.benchmarks import SEARCH_SEEDS
from presyn.files import read_file
from sweeps.files import set_aside
from sweeps.samplers import draw_round
from sweeps.space import Space
from sweeps.trials import Outcome, Trial, digest_outcomes

MOST_BYTES = 1 << 28
"""The most bytes that a manifest may have; the largest has 100,000 trials."""


class _OtherResults(Exception):
    """A frozen round rests on other results than those that are there."""


def draw_trials(space: Space) -> list[Trial]:
    """The trials of a space, as many as it says, or those of its first round if it looks at results.

    They are the same for ever, and a longer drawing begins with a shorter one. A grid goes through its first field last, so
    that what a smaller budget reaches is what the space names first.
    """
    return draw_round(space, 0, [], [])


def frozen_round(space: Space, number: int, trials: Sequence[Trial], outcomes: Sequence[Outcome], folder: Path) -> list[Trial]:
    """The trials of a round, drawn once and frozen in a file of the folder.

    A file that is damaged, or holds the trials of another space or of other results, is set aside with a line that says so;
    then they are drawn again, the same from the same results.

    Args:
        space: What is searched.
        number: Of the round, from 0; a space whose sampler looks at no results has only this one.
        trials, outcomes: Those of all rounds before it, and what came of each.
        folder: Where it is frozen.

    Raises:
        PresynError: the file cannot be written.
    """
    content: dict[str, Any] = {"space": space.identity()}
    if space.learns:
        content |= {"round": number + 1, "rests_on": digest_outcomes(trials, outcomes)}
    path = _path(space, number, folder)
    try:
        if path.exists():
            try:
                return _read(path, space, number, content, len(trials))
            except _OtherResults:
                set_aside(path, " rests on other results than there are", ", and the round is drawn again.")
            except (ValueError, LookupError, TypeError, RecursionError, PresynError):
                set_aside(path, " is no manifest of this search", ", and its trials are drawn again, the same.")
        drawn = draw_round(space, number, trials, outcomes)
        rows = [{"number": t.number, "seed": t.seed, "params": t.params} for t in drawn]
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        text = json.dumps({**content, "trials": rows, "sha256": _digest(rows)}, indent=1)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as e:
        raise PresynError(f"The manifest {path} cannot be written ({e.strerror}).") from None
    return drawn


def _path(space: Space, number: int, folder: Path) -> Path:
    """The file of a round. More trials are more rounds, and leave the files of those before them as they are."""
    drawn = [space.rounds[number], number] if space.learns else space.trials
    name = hashlib.sha256(json.dumps([space.identity(), drawn], sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{space.name}-{name}{f'-round-{number + 1}' if space.learns else ''}.json"


def _read(path: Path, space: Space, number: int, content: dict[str, Any], first: int) -> list[Trial]:
    """The trials in a file.

    Raises:
        ValueError, LookupError, TypeError, RecursionError, PresynError: they are not those of the space, or were changed.
        _OtherResults: they were drawn from other results.
    """
    frozen = json.loads(read_file(path, MOST_BYTES))
    rows = frozen["trials"]
    expected = json.loads(json.dumps(content))
    is_whole = frozen.get("sha256", _digest(rows)) == _digest(rows)  # earlier versions wrote no digest
    if frozen["space"] != expected["space"] or not is_whole:
        raise ValueError("it is of another space, or was changed")
    if frozen.get("round") != expected.get("round"):
        raise ValueError("it is of another round")
    trials = [Trial(row["number"], row["seed"], row["params"]) for row in rows]
    if [(t.number, t.seed, list(t.params)) for t in trials] != [
        (i, SEARCH_SEEDS + i, list(space.search)) for i in range(first, first + space.rounds[number])
    ]:
        raise ValueError("its trials are not those of the space")
    if any(not d._contains(d.to_internal_repr(t.params[k])) for t in trials for k, d in space.search.items()):
        raise ValueError("a value is outside its range")
    if frozen.get("rests_on") != expected.get("rests_on"):
        raise _OtherResults
    return trials


def _digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
