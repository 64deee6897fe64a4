"""A look at a node before it is given work: can it train here what the driver would?"""

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

import presyn
from presyn import Benchmark, PresynError
from presyn.datasets import Dataset, digest_dataset
from presyn.device import usable_cores
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, NodeError, prepare

TORCH = (2, 11)  # the oldest that trains


@dataclass(frozen=True)
class Images:
    """A data set on its way from the driver to the nodes.

    Attributes:
        name: What benchmarks call it.
        stored: The reference of the data set in Ray's object store, which brings it to a node once.
        digest: Of its content.
    """

    name: str
    stored: Any
    digest: str

    @classmethod
    def of(cls, dataset: Dataset) -> "Images":
        import ray

        return cls(dataset.name, ray.put(dataset), digest_dataset(dataset))

    def fetch(self) -> Dataset:
        """The data set on this node.

        Raises:
            NodeError: it is not what the driver sent.
        """
        import ray

        if self.digest not in _seen:
            dataset = ray.get(self.stored)
            if digest_dataset(dataset) != self.digest:
                raise NodeError(f"the images of {self.name} did not arrive as the driver sent them. Restart Ray there.")
            _seen[self.digest] = dataset
        return _seen[self.digest]


_seen: dict[str, Dataset] = {}


@dataclass(frozen=True)
class Driver:
    """What a node must have in common with the driver.

    Attributes:
        checkpoints: Where they are.
        cluster: Where to train.
        code: The driver's `digest_code`.
        images: Benchmark -> its images.
    """

    checkpoints: Checkpoints
    cluster: Cluster
    code: str
    images: Mapping[Benchmark, Images]

    def load(self, benchmark: Benchmark) -> Dataset:
        """The images of a benchmark, as the driver has them."""
        return self.images[benchmark].fetch()


def look(driver: Driver, kind: str) -> dict[str, Any]:
    """See whether this process can train on its node; returns what the node is.

    Args:
        driver: What it must have in common with the driver.
        kind: gpu if this process was given one, else cpu.

    Raises:
        NodeError: it cannot, and why.
    """
    if digest_code() != driver.code:
        raise NodeError(f"presyn is another version there ({Path(presyn.__file__).parent}): install the driver's.")
    version = tuple(int(n) for n in torch.__version__.split(".")[:2])
    if version < TORCH:
        raise NodeError(f"torch is {torch.__version__} there, and must be at least {TORCH[0]}.{TORCH[1]}: upgrade it.")
    driver.checkpoints.check_shared()
    for images in driver.images.values():
        images.fetch()
    device = prepare_kind(driver.cluster, kind)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"host": socket.gethostname(), "torch": torch.__version__, "device": name, "cores": usable_cores()}


def prepare_kind(cluster: Cluster, kind: str) -> torch.device:
    """Prepare this process for what it was given; returns the device.

    Raises:
        NodeError: torch cannot use it.
    """
    given = cluster.device or ("cuda" if kind == "gpu" else "cpu")
    try:
        return prepare(cluster, given)
    except PresynError as e:
        if kind == "cpu":
            raise NodeError(str(e)) from None
        raise NodeError(
            f"Ray counts a GPU there that torch cannot use ({e}). Install a torch built for its driver, "
            "or start Ray on that node with --num-gpus=0."
        ) from None


@cache
def digest_code() -> str:
    """A digest of the code that trains, as it is on this node."""
    digest = hashlib.sha256()
    root = Path(presyn.__file__).parent
    for folder in (root, Path(__file__).parents[1]):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
