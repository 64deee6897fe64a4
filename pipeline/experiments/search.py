"""A search as a stage: it asks for the configurations of a manifest and makes the best of them on validation data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml

from pipeline.records.row import ENDS, Row
from pipeline.report.figures import parallel_coordinates
from pipeline.stage import Known, Made, Stage, Wish
from presyn import METHODS, RULES_VERSION, PresynError
from sweeps.files import read_yaml
from sweeps.manifest import Trial, draw_trials, frozen_trials, trial_runs
from sweeps.space import Space, method_options
from sweeps.study import make_study


@dataclass(frozen=True)
class Winner:
    """The best configuration of a search.

    Attributes:
        params: What was searched.
        fixed: What the search fixed of the method itself; it goes with the winner.
        value: Of the objective, on validation data.
        trial: Its number.
    """

    params: dict[str, Any]
    fixed: dict[str, Any]
    value: float
    trial: int

    @property
    def settings(self) -> dict[str, Any]:
        """What is carried over."""
        return {**self.fixed, **self.params}


@dataclass(frozen=True, eq=False)
class Search(Stage):
    """A space to search.

    Attributes:
        space: The space.
        trials: Its manifest.
        study: The folder of the study that it belongs to, under the results; empty for a search of its own.
    """

    space: Space
    trials: Sequence[Trial]
    study: str = ""
    experiment = "search"
    columns = ("trial",)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.study}/search/{self.space.name}" if self.study else f"search/{self.space.name}"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"Search {self.space.name}"

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
        params = {f"best_{k}": v for k, v in winner.params.items()}
        metrics = {"best_validation_accuracy": winner.value}
        return Made(winner, files, params=params, metrics=metrics, words=self._words(rows, winner), study=study)

    def _words(self, rows: Sequence[Row], winner: Winner) -> str:
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
        read_best(
            self.folder(results) / "best.yaml", self.space.method, self.space
        )  # a search of another space is not written over

    def recall(self, results: Path) -> Winner | None:
        return read_best(self.folder(results) / "best.yaml", self.space.method, self.space)


def search(space: Space, manifests: Path | None = None, study: str = "") -> Search:
    """The search of a space; with a folder, its manifest is read back from there, or drawn and frozen in it."""
    return Search(space, draw_trials(space) if manifests is None else frozen_trials(space, manifests), study)


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


def best_yaml(space: Space, winner: Winner, trials: int, provenance: Mapping[str, Any]) -> str:
    """The winner as a file for people and for later commands; it says under which rules and on which data it was found."""
    note = f"# Trial {winner.trial} of {trials}: {winner.value:.4f} on validation data.\n"
    of = {"rules_version": int(provenance["rules_version"]), "data_sha256": str(provenance["data_sha256"])}
    return note + yaml.safe_dump({"space": _told(space), "params": winner.params, **of})


def _told(space: Space) -> dict[str, Any]:
    """What a winner's file says of the space it was found in."""
    return space.identity() | {"search": sorted(space.search)}


def read_best(path: Path, method: str, space: Space | None = None) -> Winner | None:
    """The winner in a file that `best_yaml` wrote, or None without one.

    Args:
        path: The file.
        method: Whose parameters they have to be.
        space: What it has to be the winner of; None where the space is somebody's own.

    Raises:
        PresynError: it is none, or one of another search.
    """
    if not path.exists():
        return None
    name = path.parent.name
    again = f"Search again with: presyn search --space {name}, or give the space another name."
    best = read_yaml(path)
    told, params = best.get("space"), best.get("params")
    if not isinstance(told, dict) or not isinstance(params, dict) or sorted(params) != told.get("search", sorted(params)):
        raise PresynError(f"{path} is not the winner of a search. Delete it. {again}")
    expected: dict[str, Any] = _told(space) if space and "method" in told else {"method": method}
    if space and "data_sha256" in best:
        expected["data_sha256"] = space.benchmark.sha256()
    expected["rules_version"] = RULES_VERSION
    told = told | {k: best[k] for k in ("rules_version", "data_sha256") if k in best}
    odd = [k for k in expected if told.get(k, expected[k]) != expected[k]]
    if odd:
        raise PresynError(
            f"{path} is the winner of another search: its {odd[0]} is {told.get(odd[0])!r}, not {expected[odd[0]]!r}. {again}"
        )
    fixed = told.get("fixed")
    if not isinstance(fixed, dict):
        raise PresynError(f"{path} does not say what was fixed in the search. Delete it. {again}")
    own = method_options(method, fixed)
    METHODS[method].Options.build({**{k: v for k, v in own.items() if k in METHODS[method].Options.names()}, **params})
    return Winner(params, own, float("nan"), -1)
