"""Where rows are kept and where MLflow is, as options of the commands; apart from what opens them, so that help is quick."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StorePlace:
    """Where rows are kept. Each field is an option of the commands."""

    store: str | None = None
    """results, manifests, checkpoints (PRESYN_STORE; default .presyn)"""
    checkpoints: str | None = None
    """where checkpoints go, such as s3://bucket/folder, if nodes share no folder (PRESYN_CHECKPOINTS; default the store)"""


@dataclass(frozen=True)
class MLflowPlace:
    """Where MLflow is. Each field is an option of the commands."""

    mlflow: str | None = None
    """address of MLflow (MLFLOW_TRACKING_URI; default SQLite in the store)"""
    mlflow_prefix: str | None = None
    """before the names of MLflow's experiments, as in PREFIX/table1 (MLFLOW_EXPERIMENT_NAME; default none)"""
