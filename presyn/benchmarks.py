"""Benchmarks: sequences of tasks (Methods).

To add one to a project, write its options as a YAML file and name the file where a benchmark's name goes.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from presyn.datasets import DATASETS, SHA256, Dataset, load, moments
from presyn.errors import PresynError
from presyn.files import expand_home
from presyn.options import Options, option, reject_unknown
from presyn.random_numbers import Purpose, keys, permutation
from presyn.user_data import read_arrays

MEASUREMENT_NAMES = ("energy", "output", "readings", "synapses", "fisher", "lesion", "neurons", "raises", "overlap")
"""Names of the measurements in `presyn.measures`."""
MOST_COMPARED_TASKS = 62  # each is a bit of an int64 (`presyn.measures.overlap`)
SEARCH_SEEDS = 1_000_000  # seeds from here on are for searches; reported runs never use their permutations


@dataclass(frozen=True)
class Benchmark(Options):
    """A sequence of tasks and how networks train on it."""

    name: str = option("", "name")
    dataset: str = option("mnist", "the images: one of those that come along, or the name of those of source", source="Methods")
    kind: str = option(
        "permuted", "what makes the tasks", choices=("permuted", "split", "continuous", "single", "patterns"), source="Methods"
    )
    tasks: int = option(10, "number of tasks; at most 5 for split", low=1, high=1000, source="Methods")
    epochs: int = option(10, "passes over each task", low=1, high=10_000, source="Methods")
    batch_size: int = option(100, "images in a minibatch", low=1, high=100_000, source="Methods")
    hidden: tuple[int, ...] = option((200, 200), "sizes of the hidden layers", source="Methods")
    validation: int = option(
        0,
        "training images held out and tested on instead of the test set, which then stays unread",
        low=0,
        high=59_000,
        source="ours; the paper does not say",
    )
    drop_below: float = option(
        0.0,
        "a run below this accuracy on task 1 after task 1 is dropped",
        low=0.0,
        high=1.0,
        source="released code, of its search",
    )
    tests: str = option(
        "all",
        "after each task test on all tasks so far, or on the new one alone (and on all at the end)",
        choices=("all", "new"),
    )
    transition: str = option(
        "zeno",
        "continuous: how wide tasks mix, L/2 (zeno) or L/4 (released)",
        choices=("zeno", "released"),
        source="Zeno et al. 2018; released code",
    )
    first_task: str = option(
        "permuted",
        "of permuted tasks, whether the first one permutes the pixels or shows them as stored",
        choices=("permuted", "as_stored"),
        neutral="permuted",
        source="Methods; the authors' BGD code has as_stored",
    )
    restarts: bool = option(
        False, "whether each task starts from the initial network, so that tasks are learned one by one", neutral=False
    )
    parts: str = option(
        "task",
        "where a segment of training ends: after each task, or after each epoch. Networks are measured and checkpointed there",
        choices=("task", "epoch"),
        neutral="task",
    )
    passes: int = option(
        3, "sampled networks of a measurement; after the last segment, as many as a test has", low=1, high=1000, neutral=3
    )
    measures: tuple[str, ...] = option((), "what is measured besides accuracy", choices=MEASUREMENT_NAMES, identity=False)
    patterns: int = option(0, "random patterns of all tasks together, for perceptrons", low=0, high=1_000_000, neutral=0)
    inputs: int = option(0, "length of a pattern", low=0, high=1_000_000, neutral=0)
    keep: bool = option(False, "whether the final state is kept in the store", identity=False)
    source: str | None = option(None, "an .npz file or a folder of .npy or IDX files with images of one's own", identity=False)
    mean: float | None = option(
        None,
        "of one's own images, of pixels divided by 255 or floating-point numbers as they are; none takes the training images'",
        neutral=None,
    )
    deviation: float | None = option(None, "as mean, but the standard deviation", low=1e-6, neutral=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name:
            raise PresynError("name is missing: give the benchmark a name.")
        if self.tasks * self.epochs > 1_000_000:
            raise PresynError(f"tasks times epochs must be at most 1,000,000, not {self.tasks} times {self.epochs}.")
        if self.kind == "patterns":
            self._check_patterns()
            return
        if self.patterns or self.inputs:
            raise PresynError(f"patterns and inputs are for a benchmark of kind patterns; {self.name} shows images.")
        if self.source is None and self.dataset not in DATASETS:
            raise PresynError(
                f"dataset must be one of {', '.join(DATASETS)}, not {self.dataset!r}; or say with source where its files are."
            )
        if self.source is None and (self.mean, self.deviation) != (None, None):
            unit = f"{self.dataset.split('-')[0]}-unit"
            other = f": for pixels from 0 to 1, set dataset to {unit}" if unit in DATASETS else ""
            raise PresynError(f"mean and deviation are for images of one's own, with source, not for {self.dataset}{other}.")
        if self.source is not None and self.dataset in DATASETS:
            raise PresynError(f"dataset {self.dataset!r} comes along: give the images of source another name.")
        if self.kind == "split" and self.tasks > 5 and self.source is None:
            raise PresynError(f"tasks must be at most 5 for a split benchmark, not {self.tasks}.")
        if "overlap" in self.measures and not 2 <= self.tasks <= MOST_COMPARED_TASKS:
            raise PresynError(
                f"overlap compares from 2 to {MOST_COMPARED_TASKS} tasks, and {self.name} has {self.tasks}: "
                "leave it out of measures."
            )
        if self.kind == "single" and self.tasks != 1:
            raise PresynError(f"tasks must be 1 for a single task, not {self.tasks}.")
        if min(self.hidden, default=0) < 1:
            raise PresynError(f"hidden must list at least one layer of at least one neuron, not {list(self.hidden)}.")

    def _check_patterns(self) -> None:
        if self.patterns < 1 or self.patterns % self.tasks:
            raise PresynError(f"patterns must be a multiple of the {self.tasks} tasks, which share them, not {self.patterns}.")
        if self.inputs < 1:
            raise PresynError("inputs is missing: say how long a pattern is.")
        if self.patterns * self.inputs > 10**9:
            size = f"{self.patterns:,} patterns of {self.inputs:,} inputs"
            raise PresynError(f"{size} would need {self.patterns * self.inputs / 2**30:,.0f} GiB a network: make it fewer.")
        fixed = {"dataset": "patterns", "hidden": (), "validation": 0, "source": None, "measures": (), "parts": "task"}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise PresynError(f"{name} must be {value!r} for patterns, on which perceptrons learn.")

    def classes(self, data: Dataset) -> int:
        """Output units of a network on these images."""
        return 2 if self.kind == "split" else data.classes

    def load(self, root: str | Path | None = None) -> Dataset:
        """The images, from the data folder (see `presyn.load`) or from source.

        Raises:
            PresynError: they are missing or damaged.
        """
        if self.kind == "patterns":
            return _stand_in_for_patterns(self.patterns // self.tasks, self.inputs)
        if self.source is None:
            return load(self.dataset, root)
        path = expand_home(self.source).absolute()
        return _load_user_images(path, _versions(path), self.dataset, self.mean, self.deviation)

    def sha256(self) -> str:
        """`Dataset.sha256` of the images, for MNIST and Fashion-MNIST without reading them.

        Raises:
            PresynError: images of one's own are missing or damaged.
        """
        images = self.dataset.split("-")[0] if self.dataset in DATASETS else self.dataset
        return SHA256.get(images) or self.load().sha256

    @property
    def permuted(self) -> bool:
        """Whether every task permutes the pixels."""
        return self.kind in ("permuted", "continuous")


@cache
def _stand_in_for_patterns(patterns_per_task: int, inputs: int) -> Dataset:
    """What stands for the images where each run draws its own patterns: nothing but how many there are."""
    x, y = np.zeros((patterns_per_task, inputs), np.uint8), np.zeros(patterns_per_task, np.int64)
    return Dataset("patterns", x, y, x, y, hashlib.sha256(b"patterns drawn by keyed streams").hexdigest())


def _versions(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time of change and size of a file, or of the files of a folder, by which a changed one is noticed."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    except (OSError, ValueError):  # reading it says what is wrong
        return ()


@cache
def _load_user_images(path: Path, versions: object, name: str, mean: float | None, deviation: float | None) -> Dataset:
    """The images of a user's source, of these versions; mean and deviation are measured where they are None."""
    arrays = read_arrays(path)
    largest, measured_mean, measured_deviation = moments(arrays[0])
    mean = measured_mean if mean is None else mean
    deviation = measured_deviation if deviation is None else deviation
    return Dataset.from_arrays(name, arrays, (largest, mean, deviation))


_PERMUTED = {"kind": "permuted", "tasks": 10}
_SPLIT = {"kind": "split", "tasks": 5}
_SINGLE = {"kind": "single", "tasks": 1, "parts": "epoch", "measures": ("energy", "output")}
_DIGITS = {"dataset": "digits", "hidden": (100, 100), "batch_size": 20, "epochs": 10}

BENCHMARKS: dict[str, Benchmark] = {
    name: Benchmark.build({"name": name, **values})
    for name, values in {
        "permuted-mnist": {"dataset": "mnist", **_PERMUTED},
        "permuted-fashion": {"dataset": "fashion", **_PERMUTED},
        "split-mnist": {"dataset": "mnist", **_SPLIT},
        "split-fashion": {"dataset": "fashion", **_SPLIT},
        "continuous-permuted-mnist": {"dataset": "mnist", "kind": "continuous", "tasks": 10},
        "mnist": {"dataset": "mnist", "epochs": 50, **_SINGLE},
        "permuted-digits": {**_DIGITS, "kind": "permuted", "tasks": 5},
        "split-digits": {**_DIGITS, **_SPLIT},
        "digits": {**_DIGITS, "epochs": 20, **_SINGLE},
    }.items()
}

PATTERNS = Benchmark(
    name="patterns", dataset="patterns", kind="patterns", tasks=5, epochs=25, batch_size=5, hidden=(), patterns=500, inputs=1000
)
"""The benchmark of the perceptrons, as in the released notebook."""


def find_benchmark(name: str) -> Benchmark:
    """The built-in benchmark of that name.

    Raises:
        PresynError: there is none.
    """
    reject_unknown([name], [*BENCHMARKS, PATTERNS.name], "benchmark")
    return PATTERNS if name == PATTERNS.name else BENCHMARKS[name]


def hold_out(benchmark: Benchmark, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training images to train on, and of those held out by a keyed shuffle that all runs share.

    Raises:
        PresynError: nothing would be left to train on.
    """
    n = len(data.train_y)
    if benchmark.validation >= n:
        raise PresynError(f"validation must be below {n}, the training images of {data.name}, not {benchmark.validation}.")
    order = permutation(keys([0], Purpose.HOLD_OUT), n)[0].numpy()
    return np.sort(order[benchmark.validation :]), np.sort(order[: benchmark.validation])
