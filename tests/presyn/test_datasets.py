"""Data is read from raw or gzip IDX files, and every way it can be bad gives one message with the fix."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from presyn import PresynError, datasets, load

SIZES = {"train": 60, "t10k": 20}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small data set in MNIST's layout, whose MD5s are the expected ones."""
    rng = np.random.default_rng(1)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    md5 = {}
    for part, n in SIZES.items():
        images = struct.pack(">4i", 2051, n, 28, 28) + rng.integers(0, 256, n * 784, dtype=np.uint8).tobytes()
        labels = struct.pack(">2i", 2049, n) + rng.integers(0, 10, n, dtype=np.uint8).tobytes()
        for name, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
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


def test_unit_inputs_are_the_same_images_from_zero_to_one(root):
    images = load("mnist-unit", root)
    assert images.sha256 == load("mnist", root).sha256
    inputs = (images.train_x - images.offset) * images.scale
    assert inputs.min() == 0 and inputs.max() == pytest.approx(1)


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
