"""Optuna's samplers, asked so that the same results give the same trials.

Optuna's own searches differ from run to run as soon as trials run side by side, since what is drawn depends on which trial
ended first. Here a round is drawn from the results of earlier rounds alone, in the order of their numbers, with its own seed.
"""

import hashlib
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import optuna

from presyn import PresynError
from presyn.benchmarks import SEARCH_SEEDS
from sweeps.space import POPULATIONS, Space
from sweeps.trials import Outcome, Trial, frozen_trial

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it announces every study


def round_seed(space: Space, number: int) -> int:
    """The seed of a round, counted from 0: one of its own for each, whatever was drawn before."""
    if not space.learns:
        return space.sampler_seed
    return int.from_bytes(hashlib.sha256(f"{space.sampler_seed}/{number}".encode()).digest()[:4])


def make_sampler(space: Space, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of a round, counted from 0."""
    seed, samplers = round_seed(space, number), optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that options are experimental
        if space.sampler == "tpe":
            return samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
        if space.sampler == "gp":
            return samplers.GPSampler(seed=seed)
        # A generation is smaller than a round, so that a lost trial or two do not hold it up.
        if space.sampler == "cmaes":
            return samplers.CmaEsSampler(popsize=3 * space.batch // 4, seed=seed)
        if space.sampler == "nsga2":
            return samplers.NSGAIISampler(population_size=space.batch // 2, seed=seed)
        if space.sampler == "qmc":
            return samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
        return samplers.RandomSampler(seed=seed)


def draw_round(space: Space, number: int, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> list[Trial]:
    """The trials of a round, counted from 0.

    Args:
        space: What is searched.
        number: Of the round.
        trials: Those of all rounds before it.
        outcomes: What came of each of them.

    Raises:
        PresynError: what a population of trials was drawn from is not what this version of Optuna draws.
    """
    size, first = space.rounds[number], len(trials)
    if space.sampler == "grid":
        points = itertools.islice(itertools.product(*(d.choices for d in space.search.values())), size)  # type: ignore[attr-defined]
        return _number([dict(zip(space.search, point, strict=True)) for point in points], first)
    if space.sampler == "qmc":
        return _number(_ask_sequence(space, size), first)
    study = optuna.create_study(directions=space.directions, sampler=make_sampler(space, number))
    if space.sampler in POPULATIONS:
        _repeat_rounds(space, study, number, trials, outcomes)
    else:
        for trial, outcome in zip(trials, outcomes, strict=True):
            study.add_trial(frozen_trial(space, trial, outcome))
    return _number(_ask(space, study, size), first)


def _ask(space: Space, study: optuna.Study, size: int) -> list[dict[str, Any]]:
    """Ask a study for trials, whose results are not known while the others are drawn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = [study.ask(space.search) for _ in range(size)]
    return [{k: t.params[k] for k in space.search} for t in asked]


def _number(params: Sequence[dict[str, Any]], first: int) -> list[Trial]:
    """Trials of these parameters, with numbers from the first on."""
    return [Trial(i, SEARCH_SEEDS + i, p) for i, p in enumerate(params, start=first)]


def _ask_sequence(space: Space, size: int) -> list[dict[str, Any]]:
    """Points of a Sobol sequence, which Optuna begins when a first trial says what is searched."""
    study = optuna.create_study(sampler=make_sampler(space, 0))
    corner = {k: d.choices[0] if hasattr(d, "choices") else d.low for k, d in space.search.items()}  # type: ignore[attr-defined]
    study.add_trial(optuna.trial.create_trial(params=corner, distributions=space.search, value=0.0))
    return _ask(space, study, size)


def _repeat_rounds(
    space: Space, study: optuna.Study, number: int, trials: Sequence[Trial], outcomes: Sequence[Outcome]
) -> None:
    """Ask for all rounds before one again and tell their results: a population is remembered in Optuna's own trials alone."""
    remaining = iter(zip(trials, outcomes, strict=True))
    for earlier in range(number):
        study.sampler = make_sampler(space, earlier)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = [study.ask(space.search) for _ in range(space.rounds[earlier])]
            for t, (trial, outcome) in zip(asked, remaining, strict=False):
                if {k: t.params[k] for k in space.search} != trial.params:
                    raise PresynError(
                        f"Trial {trial.number} of the search {space.name} was drawn by another version of Optuna than "
                        f"{optuna.__version__}: go on with that one, or give the space another name."
                    )
                if outcome.status == "finished":
                    study.tell(t, list(outcome.values))
                else:
                    study.tell(t, state=outcome.state)
    study.sampler = make_sampler(space, number)
