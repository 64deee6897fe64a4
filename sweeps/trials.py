"""Trials of a search, what came of them, and what both are for Optuna."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna

from presyn import Run, make_run
from presyn.benchmarks import SEARCH_SEEDS
from sweeps.space import MOST_TRIALS, Space

STATES = {
    "finished": optuna.trial.TrialState.COMPLETE,
    "halved": optuna.trial.TrialState.PRUNED,
    "dropped": optuna.trial.TrialState.PRUNED,
    "diverged": optuna.trial.TrialState.FAIL,
}


@dataclass(frozen=True)
class Trial:
    """A drawn configuration and the seed it runs with, the first one if it has several."""

    number: int
    seed: int
    params: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        status: finished, halved (others of its round were better), dropped or diverged.
        values: Of the objectives, of one that finished.
        intermediate: Tasks behind it -> its first objective then.
        reason: Why it was lost.
        began, ended: Unix times, to be shown and not computed with.
    """

    status: str
    values: tuple[float, ...] = ()
    intermediate: Mapping[int, float] = field(default_factory=dict)
    reason: str = ""
    began: float = math.nan
    ended: float = math.nan

    @property
    def state(self) -> optuna.trial.TrialState:
        """Optuna's word for its status."""
        return STATES[self.status]


def trial_runs(space: Space, trials: Sequence[Trial], tasks: int | None = None) -> list[Run]:
    """The runs of trials in order, one for each seed of each.

    Args:
        space: What is searched.
        trials: The trials.
        tasks: How many of the tasks they train; None for all.
    """
    fixed = {**space.fixed, **({} if tasks is None or tasks == space.tasks else {"tasks": tasks})}
    return [
        make_run(space.method, space.benchmark, seed, {**fixed, **t.params}) for t in trials for seed in trial_seeds(space, t)
    ]


def trial_seeds(space: Space, trial: Trial) -> list[int]:
    """The seeds of a trial's networks, which no other trial has."""
    return [trial.seed + i * MOST_TRIALS for i in range(space.seeds)]


def trial_number(seed: int) -> int:
    """The number of the trial that a seed of a search belongs to."""
    return (seed - SEARCH_SEEDS) % MOST_TRIALS


def frozen_trial(space: Space, trial: Trial, outcome: Outcome) -> optuna.trial.FrozenTrial:
    """A trial as Optuna keeps it when it is over."""
    return optuna.trial.FrozenTrial(
        number=trial.number,
        trial_id=-1,  # the study gives it one
        state=outcome.state,
        params=trial.params,
        distributions=space.search,
        value=None,
        values=list(outcome.values) if outcome.status == "finished" else None,
        # Of several objectives Optuna's tpe would ask for the one that these are of.
        intermediate_values=dict(outcome.intermediate) if len(space.objectives) == 1 else {},
        user_attrs={"seed": trial.seed, "reason": outcome.reason},
        system_attrs={},
        datetime_start=_local_time(outcome.began),
        datetime_complete=_local_time(outcome.ended),
    )


def _local_time(seconds: float) -> datetime:
    """Unix time as Optuna's tools expect it; now where it is not known."""
    return datetime.now() if math.isnan(seconds) else datetime.fromtimestamp(seconds)


def digest_outcomes(trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> str:
    """What stands for the results that a round rests on; times are none of them."""
    results = [
        [t.number, t.params, o.status, list(o.values), sorted(o.intermediate.items())]
        for t, o in zip(trials, outcomes, strict=True)
    ]
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()
