"""A look at a node before it is given work: can it train here what the driver would?"""

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

import presyn
from presyn import METHODS, Benchmark, PresynError
from presyn.datasets import Dataset, digest_dataset
from presyn.device import usable_cores
from presyn.methods import Method
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, NodeError, prepare_process

OLDEST_TORCH = (2, 11)


@dataclass(frozen=True)
class Images:
    """A data set on its way from the driver to the nodes.

    Attributes:
        name: What benchmarks call it.
        reference: Of the data set in Ray's object store, which brings it to a node once.
        content: What is in it, as `describe_content` says.
    """

    name: str
    reference: Any
    content: str

    def fetch(self) -> Dataset:
        """The data set on this node.

        Raises:
            NodeError: it is not what the driver sent.
        """
        import ray

        if self.content not in _fetched:
            dataset = ray.get(self.reference)
            if describe_content(dataset) != self.content:
                raise NodeError(f"the images of {self.name} did not arrive as the driver sent them. Restart Ray there.")
            _fetched[self.content] = dataset
        return _fetched[self.content]


def store_images(datasets: Mapping[Benchmark, Dataset]) -> dict[Benchmark, Images]:
    """Put data sets into Ray's object store, those of the same content once; what the driver does.

    By content, and not by `sha256`, which all numbers of random patterns share.
    """
    import ray

    contents = {benchmark: describe_content(dataset) for benchmark, dataset in datasets.items()}
    distinct = {contents[benchmark]: dataset for benchmark, dataset in datasets.items()}
    stored = {content: Images(dataset.name, ray.put(dataset), content) for content, dataset in distinct.items()}
    return {benchmark: stored[content] for benchmark, content in contents.items()}


def describe_content(dataset: Dataset) -> str:
    """The digest of its pixels and labels, with its name and how pixels become inputs: the same pixels can be two data sets."""
    return f"{digest_dataset(dataset)} {dataset.name} {dataset.scale!r} {dataset.offset!r}"


_fetched: dict[str, Dataset] = {}
"""Content -> a data set that this process has fetched."""


@dataclass(frozen=True)
class Setup:
    """What a worker needs to train as the driver would; the driver sends it.

    Attributes:
        checkpoints: Where to write.
        cluster: Where to train.
        code: The digest of the driver's code.
        images: Benchmark -> its images.
        methods: Users' own methods by name; their classes travel by value where other nodes do not have their files.
    """

    checkpoints: Checkpoints
    cluster: Cluster
    code: str
    images: Mapping[Benchmark, Images]
    methods: Mapping[str, type[Method]] = field(default_factory=dict)

    def load(self, benchmark: Benchmark) -> Dataset:
        """The images of a benchmark, as the driver has them."""
        return self.images[benchmark].fetch()


def look_at_node(setup: Setup, kind: str) -> dict[str, Any]:
    """See whether this process can train on its node; returns what the node is.

    Args:
        setup: What it needs.
        kind: gpu if this process was given one, else cpu.

    Raises:
        NodeError: it cannot, and why.
    """
    if digest_code() != setup.code:
        raise NodeError(f"presyn is another version there ({Path(presyn.__file__).parent}): install the driver's.")
    version = tuple(int(n) for n in torch.__version__.split(".")[:2])
    if version < OLDEST_TORCH:
        raise NodeError(
            f"torch is {torch.__version__} there, and must be at least {OLDEST_TORCH[0]}.{OLDEST_TORCH[1]}: upgrade it."
        )
    METHODS.update(setup.methods)
    setup.checkpoints.check_shared()
    for images in setup.images.values():
        images.fetch()
    device = prepare_device(setup.cluster, kind)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"host": socket.gethostname(), "torch": torch.__version__, "device": name, "cores": usable_cores()}


def prepare_device(cluster: Cluster, kind: str) -> torch.device:
    """Prepare this process for what it was given; returns the device.

    Raises:
        NodeError: torch cannot use it.
    """
    try:
        return prepare_process(cluster, cluster.device or ("cuda" if kind == "gpu" else "cpu"))
    except PresynError as e:
        if kind == "cpu":
            raise NodeError(str(e)) from None
        raise NodeError(
            f"Ray counts a GPU there that torch cannot use ({e}). Install a torch built for its driver, "
            "or start Ray on that node with --num-gpus=0."
        ) from None


def describe_fault(setup: Setup, kind: str) -> str:
    """What is wrong with the node of this process, as a task of its own; empty if it can train."""
    try:
        look_at_node(setup, kind)
    except NodeError as e:
        return f"{socket.gethostname()}: {e}"
    return ""


@cache
def digest_code() -> str:
    """A digest of the code that trains, as it is on this node."""
    digest = hashlib.sha256()
    root = Path(presyn.__file__).parent
    for folder in (root, Path(__file__).parents[1]):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
