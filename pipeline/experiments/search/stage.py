"""A search as a stage: it asks for the configurations of a manifest and makes the best of them on validation data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

from pipeline.experiments.search.winner import Winner, best_yaml, read_best
from pipeline.records.csvs import read_rows
from pipeline.records.row import ENDS, Row
from pipeline.report.drawing import parallel_coordinates
from pipeline.stage import Known, Made, Stage, Wish
from presyn import PresynError
from sweeps.manifest import Trial, draw_trials, frozen_trials, trial_runs
from sweeps.space import Space, method_options
from sweeps.study import make_study


@dataclass(frozen=True, eq=False)
class Search(Stage):
    """A space to search.

    Attributes:
        space: The space.
        trials: Its manifest.
        parent: The folder, under the results, of the stage that it belongs to; empty for a search of its own.
    """

    space: Space
    trials: Sequence[Trial]
    parent: str = ""
    shows_lost = True
    columns = ("trial",)
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
        return f"search/{self.space.name}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Search) and (self.name, self.space.identity(), len(self.trials)) == (
            other.name, other.space.identity(), len(other.trials),
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash(self.name)

    def ask(self, known: Known) -> list[Wish]:
        """All trials at once: random search needs no feedback."""
        if known.rows:
            return []
        runs = trial_runs(self.space, list(self.trials))
        return [Wish(run, {"stage": "search", "trial": t.number}) for t, run in zip(self.trials, runs, strict=True)]

    def make(self, frame: pd.DataFrame, known: Known) -> Made:
        rows = [row for _, row in known.rows]
        values = [value_of(self.space, row) for row in rows]
        winner = choose(self.space, self.trials, values)
        study = make_study(self.space, self.trials, [row.record for row in rows], values)
        files: dict[str, Any] = {
            "manifest.csv": pd.DataFrame([{"trial": t.number, "seed": t.seed, **t.params} for t in self.trials]),
            "best.yaml": best_yaml(self.space, winner, len(self.trials), known.rows[0][1].provenance),
        }
        if len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) > 1:
            files["parallel_coordinates.png"] = parallel_coordinates(study)
        chosen = next(row.run_id for t, row in zip(self.trials, rows, strict=True) if t.number == winner.trial)
        params = {f"best_{k}": v for k, v in winner.params.items()}
        metrics = {f"best_validation_{self.space.objective.removeprefix('mean_')}": winner.value}
        message = self._message(rows, winner)
        return Made(winner, files, params=params, metrics=metrics, winner=chosen, message=message, study=study)

    def _message(self, rows: Sequence[Row], winner: Winner) -> str:
        counts = {s: sum(row.status == s for row in rows) for s in ENDS}
        params = [f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in winner.params.items()]
        accuracy = self.space.objective == "mean_accuracy"
        value = f"validation accuracy {winner.value:.2%}" if accuracy else f"{self.space.objective} {winner.value:.4g}"
        return (
            f"{self.title}: {', '.join(f'{n} {s}' for s, n in counts.items() if n)}. "
            f"Best: trial {winner.trial}, {value}, {', '.join(params)}"
        )

    def stand_in(self, known: Known) -> Winner:
        """Its first configuration: any takes as long."""
        return Winner(self.trials[0].params, method_options(self.space.method, self.space.fixed), 0.0, 0)

    def refuse(self, results: Path) -> None:
        # A search of another space is not written over.
        folder = self.folder(results)
        winner = read_best(folder / "best.yaml", self.space.method, self.space)
        drawn = {trial.number: trial.params for trial in self.trials}
        exported = _exported_params(folder / "runs.csv", list(self.space.search))
        if any(drawn.get(number, params) != params for number, params in exported.items()) or (
            winner is not None and not exported and winner.params not in drawn.values()
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
    configs = {int(line["trial"]): json.loads(line["config"]) for line in lines}
    return {number: {name: config.get(name) for name in names} for number, config in configs.items()}


def search(space: Space, manifests: Path | None = None, parent: str = "") -> Search:
    """The search of a space; with a folder, its manifest is read back from there, or drawn and frozen in it."""
    return Search(space, draw_trials(space) if manifests is None else frozen_trials(space, manifests), parent)


def value_of(space: Space, row: Row) -> float | None:
    """The objective of a space for a row; None for a run that did not finish."""
    if row.status != "finished":
        return None
    if space.objective in ("mean_accuracy", "forgetting"):
        return getattr(row, space.objective)
    return row.record.figures[space.objective][-1]


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
