"""Images of one's own: a folder of four IDX files laid out as MNIST's, or an .npz file with four arrays."""

import struct
import zipfile
from pathlib import Path

import numpy as np

from presyn.datasets import Arrays, read_file
from presyn.errors import PresynError

NPZ_NAMES = (("train_x", "train_y", "test_x", "test_y"), ("x_train", "y_train", "x_test", "y_test"))
IDX_NAMES = (("train", "images"), ("train", "labels"), ("t10k", "images"), ("t10k", "labels"))


def read_arrays(path: Path) -> Arrays:
    """Training and test images and labels.

    Args:
        path: An .npz file with the arrays train_x, train_y, test_x, test_y (or x_train and so on, as Keras names them), or a
            folder with one IDX file, raw or gzip, for each of train-images, train-labels, t10k-images, t10k-labels in its name.

    Raises:
        PresynError: a file or an array is missing or damaged, or sizes, types or labels do not fit; names which.
    """
    arrays = _from_folder(path) if path.is_dir() else _from_npz(path)
    train_x, train_y, test_x, test_y = arrays
    for which, x, y in (("training", train_x, train_y), ("test", test_x, test_y)):
        if x.dtype != np.uint8 or x.ndim < 2:
            raise PresynError(f"{path}: {which} images must be uint8, (N, …), not {x.dtype}, {x.shape}.")
        if y.dtype.kind not in "iu" or y.ndim != 1 or (len(y) and y.min() < 0):
            raise PresynError(f"{path}: {which} labels must be whole numbers from 0, (N,), not {y.dtype}, {y.shape}.")
        if len(x) != len(y) or not len(x):
            raise PresynError(f"{path}: there are {len(x)} {which} images and {len(y)} {which} labels; there must be as many.")
    if train_x.shape[1:] != test_x.shape[1:]:
        raise PresynError(f"{path}: training images are {train_x.shape[1:]}, test images {test_x.shape[1:]}.")
    if set(np.unique(test_y)) - set(np.unique(train_y)):
        raise PresynError(f"{path}: test labels have classes that the training labels lack.")
    flat = [np.ascontiguousarray(x.reshape(len(x), -1)) for x in (train_x, test_x)]
    return flat[0], train_y.astype(np.int64), flat[1], test_y.astype(np.int64)


def _from_npz(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = next((n for n in NPZ_NAMES if set(n) <= set(archive.files)), None)
            if names is None:
                holds = ", ".join(archive.files) or "nothing"
                raise PresynError(f"{path} must hold the arrays {', '.join(NPZ_NAMES[0])}, but holds {holds}.")
            a, b, c, d = (archive[n] for n in names)
            return a, b, c, d
    except FileNotFoundError:
        raise PresynError(f"{path} is not there: give a folder of IDX files or an .npz file.") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError) as e:
        raise PresynError(f"{path} is not an .npz file of arrays ({str(e).splitlines()[0] if str(e) else 'empty'}).") from None


def _from_folder(path: Path) -> Arrays:
    arrays = []
    for subset, kind in IDX_NAMES:
        spellings = ("t10k", "test") if subset == "t10k" else (subset,)
        files = sorted(f for f in path.iterdir() if kind in f.name and any(s in f.name for s in spellings))
        # Of a file that is there packed and unpacked, the packed one.
        files = [f for f in files if f.suffix == ".gz" or f.with_name(f.name + ".gz") not in files] or files
        if len(files) != 1:
            names = "none" if not files else ", ".join(f.name for f in files)
            raise PresynError(f"{path} must hold one IDX file with {subset} and {kind} in its name; there is {names}.")
        arrays.append(read_idx(files[0]))
    return arrays[0], arrays[1], arrays[2], arrays[3]


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file, raw or gzip.

    Raises:
        PresynError: it is no such file, or not as long as its header says.
    """
    content = read_file(path)
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise PresynError(f"{path} is not an IDX file of bytes.")
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    if values.size != np.prod(shape, dtype=np.int64):
        raise PresynError(f"{path} holds {values.size} bytes, but its header says {' × '.join(map(str, shape))}.")
    return values.reshape(shape)
