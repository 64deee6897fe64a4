"""A home for each test: its own store, and an MLflow that is copied rather than migrated afresh."""

import shutil

import pytest

import pipeline.perform
from pipeline.train import train

TINY = ["epochs=1", "tasks=2", "hidden=16"]


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory):
    """An initialised tracking database; making one takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def home(tmp_path, monkeypatch, empty_mlflow):
    """A working folder with a store in .presyn, as a user has it."""
    for name in ("PRESYN_STORE", "PRESYN_DATA", "PRESYN_DEVICE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".presyn").mkdir()
    shutil.copy(empty_mlflow, tmp_path / ".presyn" / "mlflow.db")
    return tmp_path


@pytest.fixture
def here(monkeypatch):
    """Train in this process; Ray has tests of its own."""
    monkeypatch.setattr(pipeline.perform, "train", lambda plan, write, title, here: train(plan, write, title, True))


@pytest.fixture
def client(home):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{home / '.presyn' / 'mlflow.db'}")
