"""The search stage: train manifests, choose the winners on validation data, write results/search/<space>/."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml

from pipeline.rows import export, refuse_to_drop
from pipeline.store import ENDS, Row, Store
from pipeline.tracking import Stage, Tracker, digest
from pipeline.training import Plan, console, describe, train
from presyn import PresynError
from sweeps.execute import Cluster
from sweeps.space import Space, Trial, manifest, runs_of, study_of


@dataclass(frozen=True)
class Winner:
    """The best configuration of a search, by mean accuracy on validation data."""

    params: dict[str, Any]
    mean_accuracy: float
    trial: int


def search(
    spaces: Sequence[Space], store: Store, cluster: Cluster, uri: str, results: Path, dry_run: bool = False
) -> list[Winner | None]:
    """Search spaces, all their trials together, so that no core idles between them.

    Returns:
        The winner of each; for a dry run, None for one that is not done.

    Raises:
        PresynError: no configuration of a space finished, or results of more trials would be overwritten.
    """
    plan = Plan(store, cluster)
    manifests = [manifest(space, store.manifests) for space in spaces]
    ids = [[plan.add(run) for run in runs_of(space, drawn)] for space, drawn in zip(spaces, manifests, strict=True)]
    title = f"Search {spaces[0].name}" if len(spaces) == 1 else f"{len(spaces)} searches"
    describe(plan, title)
    if dry_run:
        return [
            choose(space, drawn, [plan.rows[i] for i in of]) if plan.rows.keys() >= set(of) else None
            for space, drawn, of in zip(spaces, manifests, ids, strict=True)
        ]
    for space, drawn in zip(spaces, manifests, strict=True):
        refuse_to_drop(results / "search" / space.name / "runs.csv", ["trial"], [(t.number,) for t in drawn])
    stages = [
        Stage("search", f"search/{space.name}/{digest(of)}", f"{space.name} ({len(of)})", of)
        for space, of in zip(spaces, ids, strict=True)
    ]
    for stage in stages:
        stage.save(store)
    tracker = Tracker(uri, store, *stages)
    train(plan, tracker, title)
    winners: list[Winner | None] = []
    for space, drawn, stage in zip(spaces, manifests, stages, strict=True):
        rows = [plan.rows[i] for i in stage.run_ids]
        winner = choose(space, drawn, rows)
        files = write(space, drawn, rows, winner, results / "search" / space.name, store)
        stage.params = {f"best_{k}": v for k, v in winner.params.items()}
        stage.metrics = {"best_validation_accuracy": winner.mean_accuracy}
        stage.files = [str(f.absolute()) for f in files]
        stage.save(store)
        console.print(_words(space, rows, winner), highlight=False)
        winners.append(winner)
    tracker.finish()
    return winners


def _words(space: Space, rows: list[Row], winner: Winner) -> str:
    counts = {s: sum(r["status"] == s for r in rows) for s in ENDS}
    params = [f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in winner.params.items()]
    return (
        f"Search {space.name}: {', '.join(f'{n} {s}' for s, n in counts.items() if n)}. "
        f"Best: trial {winner.trial}, validation accuracy {winner.mean_accuracy:.2%}, {', '.join(params)}"
    )


def choose(space: Space, trials: list[Trial], rows: list[Row]) -> Winner:
    """The finished trial with the highest mean accuracy; the earlier one of equals.

    Raises:
        PresynError: none finished.
    """
    finished = [(t, r) for t, r in zip(trials, rows, strict=True) if r["status"] == "finished"]
    if not finished:
        raise PresynError(
            f"No configuration of the search {space.name} finished: all were dropped or diverged. Draw more with --trials."
        )
    trial, row = max(finished, key=lambda pair: (pair[1]["mean_accuracy"], -pair[0].number))
    return Winner(trial.params, row["mean_accuracy"], trial.number)


def write(space: Space, trials: list[Trial], rows: list[Row], winner: Winner, folder: Path, store: Store) -> list[Path]:
    """Write manifest, rows, winner, parallel coordinates and the Optuna study; returns the files worth an artifact."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest_file = folder / "manifest.csv"
    pd.DataFrame([{"trial": t.number, "seed": t.seed, **t.params} for t in trials]).to_csv(manifest_file, index=False)
    export(folder / "runs.csv", [(r, {"stage": "search", "trial": t.number}) for t, r in zip(trials, rows, strict=True)])
    best = folder / "best.yaml"
    note = f"# Trial {winner.trial} of {len(trials)}: {winner.mean_accuracy:.4f} on validation data.\n"
    best.write_text(
        note + yaml.safe_dump({"space": space.identity() | {"search": sorted(space.search)}, "params": winner.params})
    )
    files = [manifest_file, best]
    study = study_of(space, trials, rows, f"sqlite:///{store.root / 'optuna.db'}")
    if len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) > 1:
        files.append(_parallel_coordinates(study, folder / "parallel_coordinates.png"))
    return files


def _parallel_coordinates(study: optuna.Study, path: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.visualization.matplotlib.plot_parallel_coordinate(study)
    figure = plt.gcf()
    figure.set_size_inches(10, 5)
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return path
