"""How a search goes, from the rows that there are: what is drawn, what goes on, what came of each trial; pure."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.records.row import Row
from sweeps.space import Space
from sweeps.trials import Outcome, Trial

Draw = Callable[[int, Sequence[Trial], Sequence[Outcome]], list[Trial]]
"""Gives the trials of a round by its number, from those of all rounds before it and what came of them."""
Rungs = Mapping[int, Mapping[int, Sequence[Row]]]
"""Number of a trial -> tasks that were trained -> a row for each of its seeds."""


@dataclass(frozen=True)
class Course:
    """How far a search has come.

    Attributes:
        space: What is searched.
        trials: All that were drawn.
        outcomes: Number of a trial -> what came of it, of those that came to an end.
        trained: Number of a trial -> tasks that its networks have behind them, in the mean over its seeds.
        rounds: Trials of each round that is over.
        comparing: Trials of the round that is trained now and have not stopped; none when the search is over.
        rung: The place among the rungs of the space that they are trained to.
        wanted: Those of them whose rows are not there.
    """

    space: Space
    trials: Sequence[Trial]
    outcomes: Mapping[int, Outcome]
    trained: Mapping[int, float]
    rounds: Sequence[Sequence[Trial]]
    comparing: Sequence[Trial] = ()
    rung: int = 0
    wanted: Sequence[Trial] = ()

    @property
    def ended(self) -> list[Trial]:
        """The trials that came to an end, in order."""
        return [t for t in self.trials if t.number in self.outcomes]

    def best_after(self, rounds: int) -> tuple[Trial, float] | None:
        """The best trial by the first objective after so many rounds; the earlier one of equals; None if none finished."""
        sign = 1 if self.space.direction == "maximize" else -1
        trials = [t for drawn in self.rounds[:rounds] for t in drawn if self.outcomes[t.number].status == "finished"]
        values = {t.number: self.outcomes[t.number].values[0] for t in trials}
        best = max(trials, key=lambda t: (sign * values[t.number], -t.number), default=None)
        return None if best is None else (best, values[best.number])

    @property
    def idle_rounds(self) -> int:
        """How many of the latest rounds have brought no better trial."""
        best = [self.best_after(n + 1) for n in range(len(self.rounds))]
        last = best[-1] if best else None
        return 0 if last is None else sum(b is not None and b[0] == last[0] for b in best) - 1


def follow(space: Space, draw: Draw, rungs: Rungs) -> Course:
    """The course of a search as far as there are rows."""
    trials: list[Trial] = []
    outcomes: dict[int, Outcome] = {}
    trained: dict[int, float] = {}
    rounds: list[list[Trial]] = []
    course = Course(space, trials, outcomes, trained, rounds)
    for number in range(len(space.rounds)):
        if space.patience is not None and course.idle_rounds >= space.patience:
            break
        drawn = draw(number, list(trials), [outcomes[t.number] for t in trials])
        trials += drawn
        trained |= {t.number: _tasks_trained(rungs.get(t.number, {})) for t in drawn}
        comparing = drawn
        for rung, tasks in enumerate(space.rungs):
            wanted = [t for t in comparing if not _whole(space, rungs.get(t.number, {}).get(tasks, ()))]
            outcomes |= _ends(space, [t for t in comparing if t not in wanted], rungs, tasks)
            if wanted:
                return Course(space, trials, outcomes, trained, rounds, comparing, rung, wanted)
            if tasks < space.tasks and space.halving:
                values = {t.number: _mean(space, rungs[t.number][tasks]) for t in comparing}
                kept = space.halving.survivors(values, space.direction == "maximize")
                halved = [t for t in comparing if t.number not in kept and t.number not in outcomes]
                outcomes |= {t.number: outcome(space, rungs[t.number], "halved") for t in halved}
                comparing = [t for t in comparing if t.number in kept]
        rounds.append(drawn)
    return course


def _whole(space: Space, rows: Sequence[Row]) -> bool:
    """Whether all networks of a trial have come to the end of a rung."""
    return len(rows) == space.seeds


def _tasks_trained(by_tasks: Mapping[int, Sequence[Row]]) -> float:
    """Tasks that the networks of a trial have behind them, in the mean over its seeds."""
    most: dict[int, int] = {}
    for tasks, rows in by_tasks.items():
        for row in rows:
            behind = tasks if row.status == "finished" else len(row.record.accuracy)
            most[row.config["seed"]] = max(behind, most.get(row.config["seed"], 0))
    return sum(most.values()) / len(most) if most else 0.0


def _ends(space: Space, trials: Sequence[Trial], rungs: Rungs, tasks: int) -> dict[int, Outcome]:
    """What came of the trials that end at a rung: those that were lost, or that have all their tasks behind them."""
    ended = {t.number: outcome(space, rungs[t.number]) for t in trials}
    return {n: o for n, o in ended.items() if o.status in ("dropped", "diverged") or tasks == space.tasks}


def outcome(space: Space, by_tasks: Mapping[int, Sequence[Row]], status: str = "finished") -> Outcome:
    """What came of a trial.

    Args:
        space: What is searched.
        by_tasks: Tasks that were trained -> a row for each seed.
        status: What it is if none of its networks was lost.
    """
    rows = [row for tasks in sorted(by_tasks) for row in by_tasks[tasks]]
    lost = next((row for status in ("diverged", "dropped") for row in rows if row.status == status), None)
    last = by_tasks[max(by_tasks)]
    values = tuple(_mean(space, last, name) for name in space.objectives)
    times = [t for row in rows for t in row.record.ended]
    began = min((row.record.ended[0] - row.record.seconds[0] for row in rows if row.record.ended), default=math.nan)
    reason = lost.record.reason if lost else ""
    if lost is None and None in values:
        reason = f"{space.objective} is no number"
    return Outcome(
        lost.status if lost else "diverged" if None in values else status,
        values if lost is None and None not in values and status == "finished" else (),  # type: ignore[arg-type]
        _so_far(space, by_tasks),
        reason,
        began,
        max(times, default=math.nan),
    )


def _so_far(space: Space, by_tasks: Mapping[int, Sequence[Row]]) -> dict[int, float]:
    """The first objective after the tasks at which trials are compared; by plain random search, the first accuracy, as ever."""
    if not space.learns and not space.halving:
        accuracy = by_tasks[space.tasks][0].record.accuracy if space.tasks in by_tasks else []
        return {} if not accuracy or accuracy[0][0] is None else {0: accuracy[0][0]}
    values = {tasks: _mean(space, rows) for tasks, rows in by_tasks.items() if tasks < space.tasks}
    dropped = [r.record.accuracy[0][0] for rows in by_tasks.values() for r in rows if r.status == "dropped"]
    if dropped and space.objective == "mean_accuracy" and dropped[0] is not None:
        values[1] = dropped[0]
    return {tasks: value for tasks, value in sorted(values.items()) if value is not None}


def _mean(space: Space, rows: Sequence[Row], objective: str = "") -> float | None:
    """An objective of a trial, by default the first: the mean over its seeds; None if one of them has none."""
    values = [value_of(objective or space.objective, row) for row in rows]
    return None if None in values else math.fsum(values) / len(values)  # type: ignore[arg-type]


def value_of(objective: str, row: Row) -> float | None:
    """An objective of a row; None for a run that did not finish, or where it is no number.

    A figure has nine digits here, as a line of a CSV keeps it, so that rows which were imported tell a sampler the same.
    """
    if row.status != "finished":
        return None
    if objective in ("mean_accuracy", "forgetting"):
        return getattr(row, objective)
    value = row.record.loss[-1] if objective == "loss" else row.record.figures[objective][-1]
    return float(f"{value:.9g}") if math.isfinite(value) else None


def rungs_of(space: Space, rows: Sequence[tuple[Mapping[str, object], Row]]) -> Rungs:
    """Rows with their labels, by trial and by the tasks that they trained."""
    rungs: dict[int, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for labels, row in rows:
        rungs[int(labels["trial"])][int(labels.get("tasks", space.tasks))].append(row)  # type: ignore[call-overload]
    return rungs
