"""The manifest of a search: the trials that Optuna draws from its space.

Random search needs no feedback, so all trials are drawn before anything runs, and frozen in a file: what a search contains
depends on nothing that happens while it runs.
"""

import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from presyn import PresynError, Run, make_run
from presyn.benchmarks import SEARCH_SEEDS
from presyn.files import read_file
from sweeps.files import set_aside
from sweeps.space import Space

MOST_BYTES = 1 << 28
"""Of a manifest; the largest has 100,000 trials."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it announces every study


@dataclass(frozen=True)
class Trial:
    """A drawn configuration and the seed it runs with."""

    number: int
    seed: int
    params: dict[str, Any]


def draw_trials(space: Space) -> list[Trial]:
    """The trials of a space, as many as it says; the same for ever, and a longer drawing begins with a shorter one.

    A grid goes through its first field last, so that what a smaller budget reaches is what the space names first.
    """
    if space.sampler == "grid":
        points = itertools.product(*(d.choices for d in space.search.values()))  # type: ignore[attr-defined]
        drawn = [dict(zip(space.search, point, strict=True)) for point in itertools.islice(points, space.trials)]
        return [Trial(i, SEARCH_SEEDS + i, params) for i, params in enumerate(drawn)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=space.sampler_seed))
    asked = [study.ask(space.search) for _ in range(space.trials)]
    return [Trial(t.number, SEARCH_SEEDS + t.number, {k: t.params[k] for k in space.search}) for t in asked]


def frozen_trials(space: Space, folder: Path) -> list[Trial]:
    """The trials of a space, drawn once and frozen in a file of the folder.

    A file that is damaged, or holds the trials of another space, is set aside with a line that says so; then they are drawn
    again, the same.

    Raises:
        PresynError: the file cannot be written.
    """
    name = hashlib.sha256(json.dumps([space.identity(), space.trials], sort_keys=True).encode()).hexdigest()[:12]
    path = folder / f"{space.name}-{name}.json"
    try:
        if path.exists():
            try:
                return _read(path, space)
            except (ValueError, LookupError, TypeError, RecursionError, PresynError):
                set_aside(path, " is no manifest of this search", ", and its trials are drawn again, the same.")
        trials = draw_trials(space)
        rows = [{"number": t.number, "seed": t.seed, "params": t.params} for t in trials]
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"space": space.identity(), "trials": rows, "sha256": _digest(rows)}, indent=1))
        partial.replace(path)
    except OSError as e:
        raise PresynError(f"The manifest {path} cannot be written ({e.strerror}).") from None
    return trials


def _read(path: Path, space: Space) -> list[Trial]:
    """The trials in a file.

    Raises:
        ValueError, LookupError, TypeError, RecursionError, PresynError: they are not those of the space, or were changed.
    """
    frozen = json.loads(read_file(path, MOST_BYTES))
    rows = frozen["trials"]
    is_whole = frozen.get("sha256", _digest(rows)) == _digest(rows)  # earlier versions wrote no digest
    if frozen["space"] != json.loads(json.dumps(space.identity())) or not is_whole:
        raise ValueError("it is of another space, or was changed")
    trials = [Trial(row["number"], row["seed"], row["params"]) for row in rows]
    if [(t.number, t.seed, list(t.params)) for t in trials] != [
        (i, SEARCH_SEEDS + i, list(space.search)) for i in range(space.trials)
    ]:
        raise ValueError("its trials are not those of the space")
    if any(not d._contains(d.to_internal_repr(t.params[k])) for t in trials for k, d in space.search.items()):
        raise ValueError("a value is outside its range")
    return trials


def _digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def trial_runs(space: Space, trials: list[Trial]) -> list[Run]:
    """The runs of trials, one for each."""
    return [make_run(space.method, space.benchmark, t.seed, {**space.fixed, **t.params}) for t in trials]
