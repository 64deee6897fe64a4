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

from presyn import Run, make_run
from presyn.benchmarks import SEARCH_SEEDS
from sweeps.space import Space

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
    """The trials of a space, drawn once and frozen in a file of the folder; if it is damaged they are drawn again, the same."""
    name = hashlib.sha256(json.dumps([space.identity(), space.trials], sort_keys=True).encode()).hexdigest()[:12]
    path = folder / f"{space.name}-{name}.json"
    rows = _read(path)
    if rows is None:
        rows = [{"number": t.number, "seed": t.seed, "params": t.params} for t in draw_trials(space)]
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"space": space.identity(), "trials": rows, "sha256": _digest(rows)}, indent=1))
        partial.replace(path)
    return [Trial(**row) for row in rows]


def _read(path: Path) -> list[dict[str, Any]] | None:
    """The trials in a file; None if there is none, or it was damaged or changed."""
    try:
        frozen = json.loads(path.read_text())
        return frozen["trials"] if frozen["sha256"] == _digest(frozen["trials"]) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def trial_runs(space: Space, trials: list[Trial]) -> list[Run]:
    """The runs of trials, one for each."""
    return [make_run(space.method, space.benchmark, t.seed, {**space.fixed, **t.params}) for t in trials]
