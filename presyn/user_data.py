"""Images of one's own: an .npz file with four arrays, or a folder of four .npy files or of IDX files laid out as MNIST's.

Whole numbers are pixels from 0 to 255, which count as divided by 255. Floating-point numbers are taken as they are.
"""

import math
import stat
import struct
from pathlib import Path

import numpy as np

from presyn.datasets import MOST_CLASSES, Arrays
from presyn.errors import PresynError
from presyn.files import open_unpacked, read_npy, read_npz, read_values

NPZ_NAMES = (("train_x", "train_y", "test_x", "test_y"), ("x_train", "y_train", "x_test", "y_test"))
MOST_IMAGES = 1 << 20  # that one keyed shuffle can order
MOST_DIMENSIONS = 8  # of an array in an IDX file
IDX_NAMES = (("train", "images"), ("train", "labels"), ("t10k", "images"), ("t10k", "labels"))


def read_arrays(path: Path) -> Arrays:
    """Training and test images and labels.

    Args:
        path: An .npz file with the arrays train_x, train_y, test_x, test_y (or x_train and so on, as Keras names them); or a
            folder with .npy files of these names, or with one .npy or IDX file, raw or gzip, for each of train-images,
            train-labels, t10k-images (or test-images), t10k-labels in its name.

    Returns:
        Images (N, pixels), uint8 or float32, and labels (N,) int64.

    Raises:
        PresynError: a file or an array is missing or damaged, or sizes, types or labels do not fit; names which.
    """
    if path.suffix == ".npy":
        raise PresynError(f"{path} is one array: give the folder that holds it and the other three, such as train_y.npy.")
    train_x, train_y, test_x, test_y = _from_folder(path) if _is_folder(path) else read_npz(path, NPZ_NAMES)
    train_x, test_x = _as_pixels(path, "training", train_x), _as_pixels(path, "test", test_x)
    if train_x.dtype != test_x.dtype:
        kinds = {np.dtype(np.uint8): "whole numbers", np.dtype(np.float32): "floating-point numbers"}
        raise PresynError(
            f"{path}: training images are {kinds[train_x.dtype]}, test images {kinds[test_x.dtype]}: make them the same."
        )
    for which, x, y in (("training", train_x, train_y), ("test", test_x, test_y)):
        if y.dtype.kind not in "iu" or y.ndim != 1 or (len(y) and y.min() < 0):
            raise PresynError(f"{path}: {which} labels must be whole numbers from 0, (N,), not {y.dtype}, {y.shape}.")
        if len(y) and y.max() >= MOST_CLASSES:
            raise PresynError(f"{path}: {which} labels must be the numbers of classes from 0, not codes such as {y.max()}.")
        if not x.size:
            raise PresynError(f"{path}: there are no {which} images, or they have no pixels: {which} images are {x.shape}.")
        if len(x) != len(y):
            raise PresynError(f"{path}: there are {len(x)} {which} images and {len(y)} {which} labels; there must be as many.")
        if len(x) > MOST_IMAGES:
            raise PresynError(f"{path}: there are {len(x):,} {which} images; there may be at most {MOST_IMAGES:,}.")
    if train_x.shape[1:] != test_x.shape[1:]:
        raise PresynError(f"{path}: training images are {train_x.shape[1:]}, test images {test_x.shape[1:]}.")
    if set(np.unique(test_y)) - set(np.unique(train_y)):
        raise PresynError(f"{path}: test labels have classes that the training labels lack.")
    flat = [np.ascontiguousarray(x.reshape(len(x), -1)) for x in (train_x, test_x)]
    return flat[0], train_y.astype(np.int64), flat[1], test_y.astype(np.int64)


def _as_pixels(path: Path, which: str, x: np.ndarray) -> np.ndarray:
    """Images as uint8 or float32.

    Raises:
        PresynError: they are neither whole numbers from 0 to 255 nor finite floating-point numbers.
    """
    if x.ndim < 2 or x.dtype.kind not in "iuf":
        raise PresynError(
            f"{path}: {which} images must be whole numbers from 0 to 255 or floating-point numbers, (N, …), "
            f"not {x.dtype}, {x.shape}."
        )
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise PresynError(f"{path}: {which} images hold numbers that are infinite or none (nan).")
    elif x.dtype != np.uint8 and x.size and not 0 <= x.min() <= x.max() <= 255:
        raise PresynError(
            f"{path}: {which} images are whole numbers from {x.min()} to {x.max()}, and pixels are from 0 to 255: store other "
            "values as floating-point numbers."
        )
    return x if x.dtype == np.float32 else x.astype(np.uint8)


def _is_folder(path: Path) -> bool:
    """Whether images are in the files of a folder.

    Raises:
        PresynError: nothing is there.
    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        raise PresynError(f"{path} is not there: give an .npz file, or a folder of .npy or IDX files.") from None
    except OSError as e:
        raise PresynError(f"{path} cannot be read: {e.strerror}.") from None
    except ValueError:
        raise PresynError(f"{str(path)!r} is not a path: it has a null character in it.") from None


def _from_folder(path: Path) -> Arrays:
    try:
        inside = list(path.iterdir())
    except OSError as e:
        raise PresynError(f"{path} cannot be read: {e.strerror}.") from None
    by_name = {f.name.lower(): f for f in inside}
    for names in NPZ_NAMES:
        arrays = [read_npy(by_name[f"{name}.npy"]) for name in names if f"{name}.npy" in by_name]
        if len(arrays) == 4:
            return arrays[0], arrays[1], arrays[2], arrays[3]
    arrays = []
    for subset, kind in IDX_NAMES:
        spellings = ("t10k", "test") if subset == "t10k" else (subset,)
        files = sorted(f for f in inside if kind in f.name and any(s in f.name for s in spellings))
        # Of a file that is there packed and unpacked, the packed one.
        files = [f for f in files if f.suffix == ".gz" or f.with_name(f.name + ".gz") not in files] or files
        if len(files) != 1:
            there = "none" if not files else ", ".join(f.name for f in files)
            raise PresynError(
                f"{path} must hold train_x.npy, train_y.npy, test_x.npy and test_y.npy, or one IDX or .npy file with {subset} "
                f"and {kind} in its name; there is {there}."
            )
        arrays.append(read_npy(files[0]) if files[0].suffix == ".npy" else read_idx(files[0]))
    return arrays[0], arrays[1], arrays[2], arrays[3]


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file, raw or gzip.

    Raises:
        PresynError: it is no such file, or not as long as its header says.
    """
    with open_unpacked(path) as file:
        head = file.read(4)
        dimensions = head[3] if head[:3] == b"\0\0\x08" and len(head) == 4 else 0
        sizes = file.read(4 * dimensions)
        if not 1 <= dimensions <= MOST_DIMENSIONS or len(sizes) < 4 * dimensions:
            raise PresynError(f"{path} is not an IDX file of bytes.")
        shape = struct.unpack(f">{dimensions}I", sizes)
        values = read_values(file, path, " × ".join(map(str, shape)), math.prod(shape))
        return np.frombuffer(values, np.uint8).reshape(shape)
