"""The search stage: train a manifest, choose the winner on validation data, write results/search/<space>/."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml

from pipeline.rows import export
from pipeline.store import ENDS, Row, Store
from pipeline.tracking import Stage, Tracker
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


def plan_search(space: Space, trials: int, store: Store, cluster: Cluster) -> tuple[Plan, list[Trial], list[str]]:
    """The plan of a search, its manifest, and the run id of each trial."""
    drawn = manifest(space, trials, store.manifests)
    plan = Plan(store, cluster)
    ids = [plan.add(run) for run in runs_of(space, drawn)]
    return plan, drawn, ids


def search(
    space: Space, trials: int, store: Store, cluster: Cluster, uri: str, results: Path, dry_run: bool = False
) -> Winner | None:
    """Search a space; returns the winner (None for a dry run of one that is not done).

    Raises:
        PresynError: no configuration finished.
    """
    plan, drawn, ids = plan_search(space, trials, store, cluster)
    describe(plan, f"Search {space.name}")
    if dry_run:
        return None if plan.missing else choose(drawn, [plan.rows[i] for i in ids])
    stage = Stage("search", f"search/{space.name}/{ids[0]}-{len(ids)}-{ids[-1]}", f"{space.name} ({trials})", ids)
    stage.save(store)
    tracker = Tracker(uri, store, stage)
    train(plan, tracker, f"search {space.name}")
    rows = [plan.rows[i] for i in ids]
    winner = choose(drawn, rows)
    folder = results / "search" / space.name
    files = write(space, drawn, rows, winner, folder, store)
    stage.params = {f"best_{k}": v for k, v in winner.params.items()}
    stage.metrics = {"best_validation_accuracy": winner.mean_accuracy}
    stage.files = [str(f.absolute()) for f in files]
    stage.save(store)
    tracker.finish()
    counts = {s: sum(r["status"] == s for r in rows) for s in ENDS}
    console.print(
        f"Search {space.name}: " + ", ".join(f"{n} {s}" for s, n in counts.items() if n)
        + f". Best: trial {winner.trial}, validation accuracy {winner.mean_accuracy:.2%}, "
        + ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in winner.params.items()),
        highlight=False,
    )  # fmt: skip
    return winner


def choose(trials: list[Trial], rows: list[Row]) -> Winner:
    """The finished trial with the highest mean accuracy; the earlier one of equals."""
    finished = [(t, r) for t, r in zip(trials, rows, strict=True) if r["status"] == "finished"]
    if not finished:
        raise PresynError("No configuration of the search finished: all were dropped or diverged. Draw more with --trials.")
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
