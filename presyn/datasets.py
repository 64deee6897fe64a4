"""Images and labels: MNIST, Fashion-MNIST and scikit-learn's digits, as uint8, checked, from disk; users' own may be float32.

IDX files (raw or gzip) are read here and their content is checked by MD5; torchvision is imported only to download
what is missing. Pixels are kept as stored; `Dataset.scale` and `Dataset.offset` turn them into network inputs.
"""

import hashlib
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from presyn.errors import PresynError
from presyn.files import expand_home, read_file, read_npz

# MD5 of the uncompressed files; they equal those of the official downloads.
FILES = {
    "mnist": (
        "MNIST",
        {
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
    ),
    "fashion": (
        "FashionMNIST",
        {
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
    ),
}
# (largest pixel, mean, standard deviation): an input is (pixel / largest - mean) / deviation (released code).
PIXELS = {
    "mnist": (255, 0.1307, 0.3081),
    "fashion": (255, 0.2861, 0.3530),
    "digits": (16, 0.3053, 0.3760),
    # The same images with inputs in [0, 1], and with half of the normalisation.
    "mnist-unit": (255, 0.0, 1.0),
    "mnist-shift": (255, 0.1307, 1.0),
    "mnist-scale": (255, 0.0, 0.3081),
    "fashion-unit": (255, 0.0, 1.0),
}
DATASETS = tuple(PIXELS)
SHA256 = {
    "mnist": "1e35582d42a90940c55b956deb61875c020b567ed20e3c5b174f52bf7809ed9b",
    "fashion": "ece172613115fb18b120bec8f6c02271af90b8b8f0a5af5c51cbd5ceed68e619",
}
"""`Dataset.sha256` of the files above, known without reading them."""
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""train_x, train_y, test_x, test_y."""
MOST_CLASSES = 1 << 16
MOST_BYTES = 1 << 26  # of a file of MNIST or Fashion-MNIST, unpacked
DIGITS_TEST = 360  # of scikit-learn's 1797 digits, the last ones


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test set; a network's input is (pixel − offset) · scale.

    Attributes:
        name: What benchmarks call it.
        train_x, test_x: uint8, or float32 of users' own, (N, pixels).
        train_y, test_y: int64, (N,), classes from 0.
        sha256: Of all the content, the provenance of a run.
        scale, offset: Pixels, as stored, to inputs.

    Raises:
        PresynError: something has another type, shape or length, or labels are no classes; names it.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    sha256: str
    scale: float = 1 / 255
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.sha256, str):
            raise PresynError(f"name and sha256 of a data set must be text, not {self.name!r} and {self.sha256!r}.")
        for which in ("train", "test"):
            _check_images(self.name, which, getattr(self, f"{which}_x"), getattr(self, f"{which}_y"))
        if self.train_x.shape[1] != self.test_x.shape[1]:
            sizes = f"{self.train_x.shape[1]} pixels, those to test on {self.test_x.shape[1]}"
            raise PresynError(f"The training images of {self.name} have {sizes}: they must have as many.")
        if self.train_x.dtype != self.test_x.dtype:
            raise PresynError(
                f"The images of {self.name} are {self.train_x.dtype} and {self.test_x.dtype}: make them the same."
            )
        for which, value in (("scale", self.scale), ("offset", self.offset)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise PresynError(f"{which} of {self.name} must be a number, not {value!r}.")

    def __repr__(self) -> str:
        images = f"{len(self.train_y)} training and {len(self.test_y)} test images of {self.train_x.shape[1]} pixels"
        return f"Dataset({self.name!r}: {images}, {self.classes} classes)"

    @property
    def classes(self) -> int:
        return int(max(self.train_y.max(), self.test_y.max())) + 1

    @cached_property
    def lit_share(self) -> float:
        """The share of pixels of the training images that are not 0."""
        return float(np.count_nonzero(self.train_x) / self.train_x.size)

    @classmethod
    def from_arrays(cls, name: str, arrays: Arrays, pixels: tuple[float, float, float] | None = None) -> "Dataset":
        """A dataset from its arrays.

        Args:
            name: What benchmarks call it.
            arrays: train_x, train_y, test_x, test_y.
            pixels: The largest pixel, and mean and standard deviation of pixels divided by it; None takes 255 (1 of float32)
                and the moments of the training images.

        Raises:
            PresynError: as `Dataset`; or pixels that are not three numbers, of which the first and the last are above 0.
        """
        if not isinstance(arrays, Sequence) or len(arrays) != 4:
            raise PresynError("The arrays of a data set are four: train_x, train_y, test_x and test_y.")
        train_x, train_y, test_x, test_y = arrays
        for which, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
            _check_images(name, which, x, y)
        whole = (train_x, train_y.astype(np.int64), test_x, test_y.astype(np.int64))
        try:
            largest, mean, deviation = (float(value) for value in (pixels or moments(train_x)))
        except (TypeError, ValueError):
            raise PresynError(f"pixels must be the largest pixel, a mean and a standard deviation, not {pixels!r}.") from None
        if not 0 < largest < math.inf or not 0 < deviation < math.inf:
            raise PresynError(f"The largest pixel and the standard deviation must be above 0, not {largest} and {deviation}.")
        return cls(name, *whole, _digest(whole), scale=1 / (largest * deviation), offset=mean * largest)


def _check_images(name: str, which: str, x: object, y: object) -> None:
    """Raise a PresynError for images and labels of a data set that are none; which is train or test."""
    if not isinstance(x, np.ndarray) or x.dtype not in (np.uint8, np.float32) or x.ndim != 2 or not x.size:
        what = f"{x.dtype}, {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise PresynError(f"{which}_x of {name} must be an array of uint8 or float32, (images, pixels), not {what}.")
    if x.dtype == np.float32 and not np.isfinite(x).all():
        raise PresynError(f"{which}_x of {name} holds numbers that are infinite or none (nan).")
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "iu" or y.ndim != 1:
        what = f"{y.dtype}, {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise PresynError(f"{which}_y of {name} must be an array of whole numbers, (images,), not {what}.")
    if len(x) != len(y):
        raise PresynError(f"{name} has {len(x)} images in {which}_x and {len(y)} labels in {which}_y: there must be as many.")
    if not 0 <= y.min() <= y.max() < MOST_CLASSES:
        raise PresynError(f"{which}_y of {name} must be classes from 0 to {MOST_CLASSES - 1}, not from {y.min()} to {y.max()}.")


def _digest(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of the bytes of arrays, one after the other; of floating-point numbers it says that they are such."""
    digest = hashlib.sha256()
    for array in arrays:
        if array.dtype == np.float32:
            digest.update(b"float32")
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def digest_dataset(data: Dataset) -> str:
    """SHA-256 of the images and labels."""
    return _digest((data.train_x, data.train_y, data.test_x, data.test_y))


def moments(x: np.ndarray) -> tuple[float, float, float]:
    """The largest pixel, and mean and standard deviation of pixels divided by it, of which the deviation is not 0.

    Of uint8 the largest is 255, and the moments have four decimals. Of float32 it is 1, and they have six significant digits.
    """
    if x.dtype == np.float32:
        mean, deviation = (float(f"{value:.6g}") for value in (x.mean(dtype=np.float64), x.std(dtype=np.float64)))
        return 1, mean, deviation or 1.0
    return 255, round(float(x.mean()) / 255, 4), round(float(x.std()) / 255, 4) or 1.0


def data_root(root: str | os.PathLike | None = None) -> Path:
    """The data folder: the argument, else $PRESYN_DATA, else a cache folder."""
    named = root or os.environ.get("PRESYN_DATA")
    return expand_home(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "presyn" / "data")


def load(name: str, root: str | os.PathLike | None = None) -> Dataset:
    """Read a dataset that comes along, downloading it first if it is missing from the default cache folder.

    Args:
        name: `mnist`, `fashion` or `digits`; `mnist-unit` and `fashion-unit` are not normalised, `mnist-shift` has only the
            mean subtracted and `mnist-scale` is only divided by the standard deviation.
        root: A folder laid out as torchvision's root; by default $PRESYN_DATA, else a cache folder.

    Raises:
        PresynError: the folder or a file is missing, corrupt, or cannot be downloaded.
    """
    if not isinstance(name, str) or name not in PIXELS:
        raise PresynError(f"Unknown dataset {name!r}. Known: {', '.join(DATASETS)}.")
    try:
        folder = Path() if name == "digits" else data_root(root).resolve()
        return _load(name, str(folder), root is None and not os.environ.get("PRESYN_DATA"))
    except (OSError, UnicodeError) as e:
        given = str(root or os.environ.get("PRESYN_DATA"))
        why = getattr(e, "strerror", None) or e
        raise PresynError(
            f"{given!r} is no folder that can be read ({why}). Name the folder of the IDX files with --data or PRESYN_DATA."
        ) from None


@cache
def _load(name: str, root: str, may_download: bool) -> Dataset:
    arrays = _read_digits() if name == "digits" else _read_mnist(name, Path(root), may_download)
    return Dataset.from_arrays(name, arrays, PIXELS[name])


def _read_digits() -> Arrays:
    """The digits of scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise PresynError("The digits need scikit-learn: pip install scikit-learn.") from None
    bunch = load_digits()
    x, y = bunch.data.astype(np.uint8), bunch.target.astype(np.int64)
    return x[:-DIGITS_TEST], y[:-DIGITS_TEST], x[-DIGITS_TEST:], y[-DIGITS_TEST:]


def _read_mnist(name: str, root: Path, may_download: bool) -> Arrays:
    """MNIST or Fashion-MNIST from a data folder."""
    folder, files = FILES[name.split("-")[0]]
    contents = _read_contents(root, folder, files)
    if contents is None and may_download:
        _download(folder, root)
        contents = _read_contents(root, folder, files)
    if contents is None:
        raise PresynError(
            f"{next(iter(files))} (or {next(iter(files))}.gz) is not in {root / folder / 'raw'}. Put the four IDX files of "
            f"{folder} there, point PRESYN_DATA (or --data) at a folder that has them, or unset it to download them to a cache "
            "folder."
        )
    arrays = []
    for (file, md5), (path, content) in zip(files.items(), contents, strict=True):
        content_md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if content_md5 != md5:
            raise PresynError(
                f"{path} is another data set than {folder}, or corrupt: the MD5 of its content is {content_md5}, "
                f"expected {md5}. Fetch it again if it should be that one; images of your own are named by source in a "
                "benchmark's YAML file."
            )
        images = "idx3" in file
        values = np.frombuffer(content, np.uint8, offset=16 if images else 8)
        arrays.append(values.reshape(-1, 784) if images else values.astype(np.int64))
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _read_contents(root: Path, folder: str, files: Iterable[str]) -> list[tuple[Path, bytes]] | None:
    """Where the four files are, and what is in them; None if one is missing.

    Besides torchvision's layout: the files flat in the folder, under names with a dot, or the mnist.npz of Keras.
    """
    for place in (root / folder / "raw", root / folder, root):
        paths = [next((path for path in _possible_paths(place, file) if path.exists()), None) for file in files]
        if all(paths):
            return [(path, read_file(path, MOST_BYTES)) for path in paths if path is not None]
    keras = root / ("mnist.npz" if folder == "MNIST" else "fashion-mnist.npz")
    return _from_keras(keras) if keras.exists() else None


def _possible_paths(place: Path, file: str) -> list[Path]:
    """Where a file may be in a folder: under its name or the one with a dot, packed or not."""
    return [place / f"{name}{end}" for name in (file, file.replace("-idx", ".idx")) for end in ("", ".gz")]


def _from_keras(path: Path) -> list[tuple[Path, bytes]]:
    """The contents that the IDX files would have."""
    arrays_in_order = read_npz(path, [("x_train", "y_train", "x_test", "y_test")])
    if any(a.dtype != np.uint8 for a in arrays_in_order):
        raise PresynError(f"{path} is not the file of Keras: its arrays are not uint8.")
    heads = [np.array([2048 + a.ndim, *a.shape], ">u4").tobytes() for a in arrays_in_order]
    return [(path, head + a.tobytes()) for head, a in zip(heads, arrays_in_order, strict=True)]


def _download(folder: str, root: Path) -> None:
    """Let torchvision download a data set, by the name of its folder."""
    print(f"presyn: downloading {folder} to {root}", file=sys.stderr)
    try:
        import torchvision.datasets

        getattr(torchvision.datasets, folder)(root, download=True)
    except Exception as e:  # torchvision raises whatever the network library does
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise PresynError(
            f"{folder} could not be downloaded to {root} ({reason}). Fetch its four IDX files elsewhere, lay them out as "
            f"{folder}/raw/train-images-idx3-ubyte.gz and so on, and point PRESYN_DATA (or --data) at that folder."
        ) from None
