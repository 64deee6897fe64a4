"""Where work happens: the store, the results, the cluster and MLflow, opened once and handed on whole.

The one place of the pipeline that reads environment variables.
"""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipeline.places import MLflowPlace, StorePlace
from pipeline.records.mlflow.server import address
from pipeline.records.store import Store
from presyn import PresynError
from presyn.datasets import expand_home
from presyn.errors import hide_passwords
from sweeps.cluster import Cluster
from sweeps.cluster.find import refuse_cores
from sweeps.files import sqlite_address
from sweeps.remote import open_folder


@dataclass(frozen=True)
class Workspace:
    """Where work happens.

    Attributes:
        store: Of rows, manifests and checkpoints.
        results: The folder that stages write to.
        cluster: Where to train.
        uri: Of MLflow.
        prefix: Before the names of MLflow's experiments; empty for none.
        command: The words that were given, without passwords; for MLflow's notes. Empty from Python.
    """

    store: Store
    results: Path
    cluster: Cluster
    uri: str
    prefix: str = ""
    command: str = ""

    @classmethod
    def open(cls, results: Path = Path("results"), command: str = "", **options: Any) -> "Workspace":
        """A workspace from options; what is not given is read from the environment, or is its default.

        Args:
            results: The folder that stages write to.
            command: The words that were given.
            options: Fields of StorePlace, MLflowPlace and Cluster.

        Raises:
            PresynError: the store cannot be written, or an option is out of range.
        """

        def take(kind: Any) -> Any:
            return kind(**{f.name: options.pop(f.name) for f in fields(kind) if f.name in options})

        store_place, mlflow_place, cluster = take(StorePlace), take(MLflowPlace), take(Cluster)
        if options:
            raise TypeError(f"{next(iter(options))} is no option of a workspace")
        data = cluster.data or os.environ.get("PRESYN_DATA")
        cluster = replace(
            cluster,
            data=str(expand_home(data).absolute()) if data else None,  # workers have working folders of their own
            device=cluster.device or os.environ.get("PRESYN_DEVICE") or None,
            ray_address=cluster.ray_address or os.environ.get("RAY_ADDRESS") or None,
        )
        refuse_cores(cluster)
        uri = mlflow_place.mlflow or os.environ.get("MLFLOW_TRACKING_URI")
        checked = address(uri) if uri else ""
        store = open_store(store_place.store, store_place.checkpoints)
        prefix = mlflow_place.mlflow_prefix or os.environ.get("MLFLOW_EXPERIMENT_NAME") or ""
        return cls(
            store, results, cluster, checked or sqlite_address(store.root / "mlflow.db"), prefix, hide_passwords(command)
        )


def store_folder(root: str | None = None) -> Path:
    """The folder of the store: the argument, else $PRESYN_STORE, else .presyn."""
    return expand_home(root or os.environ.get("PRESYN_STORE") or ".presyn")


def open_store(root: str | None = None, checkpoints: str | None = None, write: bool = True) -> Store:
    """The store in a folder: the argument, else $PRESYN_STORE, else .presyn.

    Args:
        root: The folder.
        checkpoints: Where checkpoints go, a folder or an address such as s3://bucket/folder; None keeps them in the store.
        write: Whether it is written to, and not only looked at.

    Raises:
        PresynError: it cannot be written, or would be gone with a Ray session.
    """
    folder = store_folder(root).absolute()
    if "runtime_resources" in folder.parts:
        raise PresynError(
            f"The store {folder} is inside the copy that Ray made of the working folder, and would be gone with it. Name a "
            "folder that stays and that all nodes see, with --store or PRESYN_STORE."
        )
    elsewhere = checkpoints or os.environ.get("PRESYN_CHECKPOINTS")
    return Store(folder, open_folder(elsewhere) if elsewhere else None, write)
