"""Data is read from raw or gzip IDX files, and every way it can be bad gives one message with the fix."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from presyn import PresynError, datasets, load
from presyn.datasets import FILES

SIZES = {"train": 60, "t10k": 20}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small data set in MNIST's layout, whose MD5s are the expected ones."""
    rng = np.random.default_rng(1)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    md5 = {}
    for subset, n in SIZES.items():
        images = struct.pack(">4i", 2051, n, 28, 28) + rng.integers(0, 256, n * 784, dtype=np.uint8).tobytes()
        labels = struct.pack(">2i", 2049, n) + rng.integers(0, 10, n, dtype=np.uint8).tobytes()
        for name, content in ((f"{subset}-images-idx3-ubyte", images), (f"{subset}-labels-idx1-ubyte", labels)):
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
            md5[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(datasets.FILES, "mnist", ("MNIST", md5))
    datasets._load.cache_clear()
    yield tmp_path
    datasets._load.cache_clear()


def test_reads_gzip_and_raw_alike(root):
    zipped = load("mnist", root)
    assert zipped.train_x.shape == (60, 784) and zipped.test_y.shape == (20,)
    for path in (root / "MNIST" / "raw").glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    datasets._load.cache_clear()
    assert load("mnist", root).sha256 == zipped.sha256


@pytest.mark.parametrize(("name", "low", "high"), [("unit", 0, 1), ("shift", -0.1307, 0.8693), ("scale", 0, 1 / 0.3081)])
def test_inputs_without_or_with_half_of_the_normalisation_are_of_the_same_images(root, name, low, high):
    images = load(f"mnist-{name}", root)
    assert images.sha256 == load("mnist", root).sha256
    inputs = (images.train_x - images.offset) * images.scale
    assert inputs.min() == pytest.approx(low) and inputs.max() == pytest.approx(high)


def test_missing_folder_names_the_file_and_the_fix(tmp_path):
    with pytest.raises(PresynError, match=r"train-images-idx3-ubyte.*is not in .*nowhere.*PRESYN_DATA"):
        load("mnist", tmp_path / "nowhere")


def test_truncated_gzip_is_named(root):
    path = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(PresynError, match=r"t10k-images-idx3-ubyte.gz is corrupt.*Delete it"):
        load("mnist", root)


def test_changed_content_is_named(root):
    path = root / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[20] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(PresynError, match=r"train-labels.*MD5"):
        load("mnist", root)


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision")

    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)
    with pytest.raises(PresynError, match=r"could not be downloaded.*no route to host.*PRESYN_DATA"):
        datasets._download("MNIST", tmp_path)


def test_digits_need_no_file_and_have_the_stated_moments():
    digits = load("digits")
    assert digits.train_x.shape == (1437, 64) and digits.test_x.shape == (360, 64)
    x = (digits.train_x - digits.offset) * digits.scale
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02


def test_unknown_dataset_lists_the_known():
    with pytest.raises(PresynError, match="Known: mnist, fashion, digits"):
        load("cifar")


@pytest.fixture
def small(monkeypatch):
    """Four small IDX files as bytes, known by their MD5 as if they were MNIST's."""
    rng = np.random.default_rng(0)
    four = [rng.integers(0, 256, (n, 784) if wide else n, dtype=np.uint8) for n, wide in ((6, 1), (6, 0), (4, 1), (4, 0))]
    shapes = [(len(a), 28, 28) if a.ndim == 2 else (len(a),) for a in four]
    heads = [np.array([2048 + len(shape), *shape], ">u4").tobytes() for shape in shapes]
    contents = [head + a.tobytes() for head, a in zip(heads, four, strict=True)]
    md5 = {f: hashlib.md5(c).hexdigest() for f, c in zip(FILES["mnist"][1], contents, strict=True)}
    monkeypatch.setitem(FILES, "mnist", ("MNIST", md5))
    return dict(zip(md5, contents, strict=True)), four, shapes


@pytest.mark.parametrize(
    ("folder", "named", "packed"),
    [
        ("MNIST/raw", str, False),
        ("MNIST/raw", lambda f: f + ".gz", True),
        ("MNIST/raw", str, True),  # gzip content under the raw name
        ("MNIST", str, False),
        (".", str, False),  # the four files flat, as in …/MNIST/raw itself
        (".", lambda f: f.replace("-idx", ".idx"), False),  # as they are spelled elsewhere
        ("MNIST/raw", lambda f: f.replace("-idx", ".idx") + ".gz", True),
    ],
)
def test_near_misses_of_the_layout_are_read(tmp_path, small, folder, named, packed):
    contents, four, _ = small
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (tmp_path / folder / named(file)).write_bytes(gzip.compress(content) if packed else content)
    data = load("mnist", tmp_path)
    assert (data.train_x == four[0]).all() and (data.test_y == four[3]).all() and len(data.test_x) == 4


def test_the_file_of_keras_is_read(tmp_path, small):
    _, four, shapes = small
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(tmp_path / "mnist.npz", **{n: a.reshape(s) for n, a, s in zip(names, four, shapes, strict=True)})
    assert (load("mnist", tmp_path).train_x == four[0]).all()
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "mnist.npz", x_train=four[0])
    with pytest.raises(PresynError, match="mnist.npz must hold the arrays x_train.*but holds x_train"):
        load("mnist", tmp_path / "other")


def test_other_images_under_mnists_names_are_not_to_be_deleted(tmp_path, small):
    contents, _, _ = small
    for file, content in contents.items():
        (tmp_path / file).write_bytes(content[:-1] + b"x" if "labels" not in file else content)
    with pytest.raises(PresynError, match="is another data set than MNIST, or corrupt") as e:
        load("mnist", tmp_path)
    assert "elete" not in str(e.value) and "named by source" in str(e.value)
