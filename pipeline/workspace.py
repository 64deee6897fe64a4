"""Where work happens: the store, the results, the cluster and MLflow, opened once and handed on whole.

The one place of the pipeline that reads environment variables.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.records.server import address
from pipeline.records.store import Store
from presyn import PresynError
from presyn.datasets import expand_home
from presyn.errors import hide_passwords
from sweeps.cluster import Cluster
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
    def open(
        cls,
        results: Path = Path("results"),
        *,
        store: str | None = None,
        mlflow: str | None = None,
        data: str | None = None,
        device: str | None = None,
        ray_address: str | None = None,
        gpu_share: float = 1.0,
        cpus: int = 1,
        checkpoints: str | None = None,
        cohort: int | None = None,
        tf32: bool = False,
        mlflow_prefix: str | None = None,
        command: str = "",
    ) -> "Workspace":
        """A workspace from options; what is not given is read from the environment, or is its default.

        Raises:
            PresynError: the store cannot be written, or an option is out of range.
        """
        data = data or os.environ.get("PRESYN_DATA")
        cluster = Cluster(
            data=str(expand_home(data).absolute()) if data else None,  # workers have working folders of their own
            device=device or os.environ.get("PRESYN_DEVICE") or None,
            gpu_share=gpu_share,
            cpus=cpus,
            max_members=cohort,
            tf32=tf32,
            address=ray_address or os.environ.get("RAY_ADDRESS") or None,
        )
        uri = mlflow or os.environ.get("MLFLOW_TRACKING_URI")
        known = address(uri) if uri else ""
        opened = open_store(store, checkpoints)
        prefix = mlflow_prefix or os.environ.get("MLFLOW_EXPERIMENT_NAME") or ""
        return cls(
            opened, results, cluster, known or sqlite_address(opened.root / "mlflow.db"), prefix, hide_passwords(command)
        )


def open_store(root: str | None = None, checkpoints: str | None = None) -> Store:
    """The store in a folder: the argument, else $PRESYN_STORE, else .presyn.

    Args:
        root: The folder.
        checkpoints: Where checkpoints go, a folder or an address such as s3://bucket/folder; None keeps them in the store.

    Raises:
        PresynError: it cannot be written, or would be gone with a Ray session.
    """
    folder = expand_home(root or os.environ.get("PRESYN_STORE") or ".presyn").absolute()
    if "runtime_resources" in folder.parts:
        raise PresynError(
            f"The store {folder} is inside the copy that Ray made of the working folder, and would be gone with it. Name a "
            "folder that stays and that all nodes see, with --store or PRESYN_STORE."
        )
    far = checkpoints or os.environ.get("PRESYN_CHECKPOINTS")
    return Store(folder, open_folder(far) if far else None)
