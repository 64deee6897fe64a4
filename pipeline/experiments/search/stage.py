"""A search as a stage: it asks for the trials of a manifest, round by round, and makes the best of them on validation data."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from pipeline.experiments.search.course import Course, Draw, follow, rungs_of, value_of
from pipeline.experiments.search.expected import Expected, expected_on_new_seeds
from pipeline.experiments.search.pictures import best_so_far, draw_front, draw_progress
from pipeline.experiments.search.winner import Winner, best_yaml, read_best, winner_of_today
from pipeline.records.csvs import read_rows
from pipeline.records.repeat import all_options
from pipeline.records.row import ENDS
from pipeline.report.drawing import parallel_coordinates
from pipeline.stage import Known, Made, Stage, Step, Wish
from presyn import PresynError, Run
from sweeps.manifest import frozen_round
from sweeps.samplers import draw_round
from sweeps.space import Space, method_options
from sweeps.study import make_study
from sweeps.trials import Outcome, Trial, digest_outcomes, trial_runs, trial_seeds


@dataclass(frozen=True, eq=False)
class Search(Stage):
    """A space to search.

    Attributes:
        space: The space.
        draw: Draws its rounds.
        parent: The folder, under the results, of the stage that it belongs to; empty for a search of its own.
    """

    space: Space
    draw: Draw = field(repr=False)
    parent: str = ""
    shows_lost = True
    about = "Searches: configurations drawn from a space and compared on images that are held out of training."

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.parent}/search/{self.space.name}" if self.parent else f"search/{self.space.name}"

    @property
    def mlflow_experiment(self) -> str:
        return "search"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"Search {self.space.name}"

    @property
    def mlflow_name(self) -> str:
        return f"{self.space.name.removeprefix(f'{self.space.method}-')}, search of {self.space.method}"

    @property
    def objective(self) -> str:  # type: ignore[override]
        return "validation_accuracy" if self.space.objective == "mean_accuracy" else self.space.objective

    @property
    def minimize(self) -> bool:  # type: ignore[override]
        return self.space.direction == "minimize"

    @property
    def searched(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.space.search)

    @property
    def identity(self) -> str:
        # Two samplers may begin with the same trials, by which a stage is told from others otherwise.
        sampler = "" if self.space.sampler in ("random", "grid") else f"/{self.space.sampler}"
        return f"search/{self.space.name}{sampler}"

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        tasks, seeds = ("tasks",) * bool(self.space.halving), ("seed",) * (self.space.seeds > 1)
        return ("trial", *tasks, *seeds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Search) and (self.name, self.space.identity(), self.space.trials) == (
            other.name, other.space.identity(), other.space.trials,
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.name)

    def _course(self, known: Known) -> Course:
        return follow(self.space, self.draw, rungs_of(self.space, known.rows))

    def ask(self, known: Known) -> list[Wish]:
        """What is missing of the round that is trained; random search has one round, and asks for all trials at once."""
        course = self._course(known)
        return [wish for trial in course.wanted for wish in self._wishes(trial, course.rung)]

    def _wishes(self, trial: Trial, rung: int) -> list[Wish]:
        """The runs of a trial up to a rung, each going on from the rung before."""
        space = self.space
        rungs = space.rungs
        shorter: list[Run | None] = [None] * space.seeds
        if rung:
            shorter = list(trial_runs(space, [trial], rungs[rung - 1]))
        labels = {"stage": "search", "trial": trial.number, **({"tasks": rungs[rung]} if space.halving else {})}
        pauses = rung < len(rungs) - 1
        runs = trial_runs(space, [trial], rungs[rung])
        return [Wish(run, labels, pauses, before) for run, before in zip(runs, shorter, strict=True)]

    def to_come(self, known: Known) -> list[Wish]:
        course = self._course(known)
        if not course.trials:
            return []
        counts = [(len(course.comparing), course.rung)] + [(size, 0) for size in self.space.rounds[len(course.rounds) + 1 :]]
        wishes: list[Wish] = []
        for place, (count, first) in enumerate(counts):
            for rung in range(first, len(self.space.rungs)):
                if rung > first and self.space.halving:
                    count = self.space.halving.count(count)
                if place or rung > first:
                    wishes += self._wishes(course.trials[0], rung) * count
        return wishes

    def may_come(self) -> Iterator[tuple]:
        space = self.space
        for number in range(space.trials):
            tasks = [space.rungs] if space.halving else []
            seeds = [trial_seeds(space, Trial(number, self._first_seed + number, {}))] if space.seeds > 1 else []
            yield from itertools.product([number], *tasks, *seeds)

    @property
    def _first_seed(self) -> int:
        return self.draw(0, [], [])[0].seed

    def steps(self, known: Known, count: Callable[[Run], int]) -> list[Step]:
        """A step for each round that is over."""
        space = self.space
        if not space.learns and not space.halving:
            return []
        course = self._course(known)
        return [self._step(course, number, count) for number in range(1, len(course.rounds) + 1)]

    def _step(self, course: Course, number: int, count: Callable[[Run], int]) -> Step:
        """How the search stands after a round, counted from 1."""
        space, best = self.space, course.best_after(number)
        drawn = [t for drawn in course.rounds[:number] for t in drawn]
        message = f"{self.title}: round {number} of {len(space.rounds)}, {len(drawn)} of {space.trials} trials"
        metrics = {"trials_so_far": float(len(drawn))}
        if best is None:
            message += ", none of which finished"
        elif len(space.objectives) > 1:
            message += f", best {space.objective} {self._show(best[1])}"
        else:
            message += f", best so far {self._show(best[1])} (trial {best[0].number})"
        if best is not None:
            metrics["best_so_far"] = best[1]
        if space.halving:
            saved = self._steps_saved(drawn, course, count)
            metrics["steps_saved"] = float(saved)
            message += f", {saved:,} network steps saved by halving"
        idle = replace(course, rounds=course.rounds[:number]).idle_rounds
        if idle and len(space.objectives) == 1:
            stops = space.patience is not None and idle >= space.patience
            message += f"; no better for {idle} round{'s' * (idle > 1)}{', so it ends here' if stops else ''}"
        return Step(message, metrics)

    def _steps_saved(self, trials: Sequence[Trial], course: Course, count: Callable[[Run], int]) -> int:
        """Network steps that halved trials were spared."""
        space = self.space
        halved = [t for t in trials if course.outcomes[t.number].status == "halved"]
        steps = {tasks: count(trial_runs(space, trials[:1], tasks)[0]) for tasks in space.rungs}
        return sum(space.seeds * (steps[space.tasks] - steps[max(course.outcomes[t.number].intermediate)]) for t in halved)

    def _show(self, value: float) -> str:
        return f"{value:.2%}" if self.space.objective == "mean_accuracy" else f"{value:.4g}"

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        course = self._course(known)
        trials, outcomes = course.ended, [course.outcomes[t.number] for t in course.ended]
        if course.wanted and all(o.status != "finished" for o in outcomes):
            return Made(message=f"{self.title}: no trial has come to its end yet.")
        study = make_study(self.space, trials, outcomes)
        front = {t.number for t in study.best_trials} if len(self.space.objectives) > 1 else None
        values = [
            o.values[0] if o.values and (front is None or t.number in front) else None
            for t, o in zip(trials, outcomes, strict=True)
        ]
        winner = choose(self.space, trials, values)
        files: dict[str, Any] = {
            "manifest.csv": pd.DataFrame([{"trial": t.number, "seed": t.seed, **t.params} for t in course.trials]),
            "best.yaml": best_yaml(self.space, winner, len(course.trials), known.rows[0][1].provenance),
        }
        metrics = {self._metric(): winner.value}
        expected = None if front is not None else self._expected(known, trials, outcomes)
        if expected is not None:
            metrics |= {"expected_on_new_seeds": expected.value, "optimism": expected.optimism}
        files |= self._more_files(course, study, front)
        params = {f"best_{k}": v for k, v in winner.params.items()}
        message = self._message(outcomes, winner, expected, front)
        chosen = next(row.run_id for labels, row in reversed(known.rows) if labels["trial"] == winner.trial)
        return Made(winner, files, params=params, metrics=metrics, winner=chosen, message=message, study=study)

    def _more_files(self, course: Course, study: optuna.Study, front: set[int] | None) -> dict[str, Any]:
        """Tables of trials and their pictures, as far as there are enough that finished."""
        space, files = self.space, dict[str, Any]()
        if space.learns or space.halving or space.seeds > 1 or front is not None:
            files["trials.csv"] = self._table(course, front)
        if len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) > 1:
            if front is None:
                files["parallel_coordinates.png"] = parallel_coordinates(study)
                files["progress.png"] = draw_progress({space.sampler: best_so_far(course)}, space)
            else:
                files["front.png"] = draw_front(self._table(course, front), space)
        return files

    def _table(self, course: Course, front: set[int] | None) -> pd.DataFrame:
        """A line for each trial: its round, what came of it, the tasks behind it, its objectives and its parameters."""
        numbers = {t.number: n for n, drawn in enumerate(course.rounds, start=1) for t in drawn}
        lines = []
        for t in course.ended:
            outcome = course.outcomes[t.number]
            values = outcome.values or (math.nan,) * len(self.space.objectives)
            lines.append(
                {
                    "trial": t.number,
                    "round": numbers.get(t.number, len(course.rounds) + 1),
                    "status": outcome.status,
                    "tasks": course.trained[t.number],
                    **({} if front is None else {"front": t.number in front}),
                    **dict(zip(self.space.objectives, values, strict=True)),
                    **t.params,
                }
            )
        return pd.DataFrame(lines)

    def _expected(self, known: Known, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> Expected | None:
        """What the winner can be expected to come to on new seeds."""
        rungs = rungs_of(self.space, known.rows)
        finished = [t for t, o in zip(trials, outcomes, strict=True) if o.status == "finished"]
        values = [[value_of(self.space.objective, row) for row in rungs[t.number][self.space.tasks]] for t in finished]
        return expected_on_new_seeds(self.space, [t.params for t in finished], values)  # type: ignore[arg-type]

    def _metric(self) -> str:
        """The name of the winner's value in MLflow, by the objective."""
        objective = self.space.objective
        return "best_validation_accuracy" if objective == "mean_accuracy" else f"best_validation_{objective}"

    def _message(self, outcomes: Sequence[Outcome], winner: Winner, expected: Expected | None, front: set[int] | None) -> str:
        counts = {s: sum(o.status == s for o in outcomes) for s in (*ENDS, "halved")}
        params = [f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in winner.params.items()]
        objective = self.space.objective
        value = f"{'validation accuracy' if objective == 'mean_accuracy' else objective} {self._show(winner.value)}"
        text = f"{self.title}: {', '.join(f'{n} {s}' for s, n in counts.items() if n)}. "
        if front is not None:
            text += f"{len(front)} are on the front of {' and '.join(self.space.objectives)}. "
        text += f"Best: trial {winner.trial}, {value}, {', '.join(params)}"
        if expected is not None:
            text += f". On new seeds expect about {self._show(expected.value)} (noise by {expected.source})"
        return text

    def stand_in(self, known: Known) -> Winner:
        """Its first configuration: any takes as long."""
        first = self.draw(0, [], [])[0]
        return Winner(first.params, method_options(self.space.method, self.space.fixed), 0.0, 0)

    def refuse(self, results: Path) -> None:
        # A search of another space is not written over.
        folder = self.folder(results)
        winner = winner_of_today(folder / "best.yaml", self.space.method, self.space)
        drawn = {trial.number: trial.params for trial in self.draw(0, [], [])}
        exported = _exported_params(folder / "runs.csv", list(self.space.search))
        if any(drawn.get(number, params) != params for number, params in exported.items()) or (
            winner is not None and not exported and not self.space.learns and winner.params not in drawn.values()
        ):
            raise PresynError(
                f"{folder} has the results of another search: its ranges were others than those of {self.space.name} now. "
                "Give the space another name, or write elsewhere with --results."
            )

    def recall(self, results: Path) -> Winner | None:
        return read_best(self.folder(results) / "best.yaml", self.space.method, self.space)


def _exported_params(path: Path, names: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Number of a trial -> the values of what is searched, by the rows that a search has exported; of none, nothing."""
    if not path.exists():
        return {}
    lines = read_rows(path, ["trial"]).to_dict("records")
    configs = {int(line["trial"]): all_options(json.loads(line["config"])) for line in lines}
    return {number: {name: config.get(name) for name in names} for number, config in configs.items()}


def search(space: Space, manifests: Path | None = None, parent: str = "") -> Search:
    """The search of a space; with a folder, its manifest is read back from there, or drawn and frozen in it."""
    drawn: dict[tuple[int, str], list[Trial]] = {}

    def draw(number: int, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> list[Trial]:
        key = (number, digest_outcomes(trials, outcomes))
        if key not in drawn:
            asked = (space, number, trials, outcomes)
            drawn[key] = draw_round(*asked) if manifests is None else frozen_round(*asked, manifests)
        return drawn[key]

    draw(0, [], [])  # a folder that cannot be written is found now
    return Search(space, draw, parent)


def choose(space: Space, trials: Sequence[Trial], values: Sequence[float | None]) -> Winner:
    """The finished trial with the best value; the earlier one of equals.

    Raises:
        PresynError: none finished.
    """
    finished = [(t, v) for t, v in zip(trials, values, strict=True) if v is not None]
    if not finished:
        raise PresynError(
            f"No configuration of the search {space.name} finished: all were dropped or diverged. Draw more with --trials."
        )
    sign = 1 if space.direction == "maximize" else -1
    trial, value = max(finished, key=lambda pair: (sign * pair[1], -pair[0].number))
    return Winner(trial.params, method_options(space.method, space.fixed), value, trial.number)
