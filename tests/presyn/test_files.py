"""Files that only a bug or an attacker makes are refused in one line, before memory is taken for what they claim to hold."""

import gzip
import io
import os
import resource
import struct
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from presyn import Benchmark, PresynError, load
from presyn.files import read_file
from presyn.user_data import read_arrays, read_idx

MOST_TAKEN = 150 << 20
"""Bytes that a refusal may take beside what the test itself holds."""


def header(shape, dtype="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": dtype})
    return file.getvalue()


def write_npz(path, shape, content=b"", dtype="|u1", packed=zipfile.ZIP_DEFLATED):
    """An .npz file whose training images have a header that need not fit."""
    small = {"train_y": np.zeros(4, np.int64), "test_x": np.zeros((4, 3), np.uint8), "test_y": np.zeros(4, np.int64)}
    np.savez(path, **small)
    with zipfile.ZipFile(path, "a", packed) as archive, archive.open("train_x.npy", "w", force_zip64=True) as file:
        file.write(header(shape, dtype) + content)
    return path


@contextmanager
def little_memory():
    """A context in which the test can take no more than a little memory."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_TAKEN, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("shape", [(40_000_000, 1_000_000), (2**62, 2**62), (50_000, 28, 28), (5, 3), (3, 3)])
@pytest.mark.parametrize("dtype", ["|u1", "<f8"])
def test_an_npz_file_whose_header_says_what_is_not_there(tmp_path, shape, dtype):
    path = write_npz(tmp_path / "liar.npz", shape, bytes(3 * 4), dtype)
    with little_memory(), pytest.raises(PresynError, match="liar.npz.*header") as e:
        read_arrays(path)
    assert "\n" not in str(e.value)


def test_an_npz_file_that_unpacks_to_what_no_images_are(tmp_path):
    path = tmp_path / "bomb.npz"
    write_npz(path, (1 << 20, 128), bytes(1 << 27))
    assert path.stat().st_size < 1 << 20
    with little_memory(), pytest.raises(PresynError, match="bomb.npz: its header says .* far more than images in"):
        read_arrays(path)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x03\x00\x10\x00\x00\x00{}",
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (4, 3), }           \n",
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (-4, -3), }        \n" + bytes(12),
        b"\x93NUMPY\x01\x00\x46\x00" + b"(" * 69 + b"\n",
    ],
)
def test_an_npz_file_with_a_header_that_is_none(tmp_path, entry):
    path = write_npz(tmp_path / "odd.npz", (4, 3), bytes(12))
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (contents | {"train_x.npy": entry}).items():
            archive.writestr(name, content)
    with pytest.raises(PresynError, match="odd.npz"):
        read_arrays(path)


@pytest.mark.parametrize("size", [1 << 20, 1 << 26, 1 << 40])
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_whose_header_says_what_is_not_there(tmp_path, size, packed):
    content = b"\0\0\x08\x03" + struct.pack(">3I", size >> 20, 1024, 1024) + bytes(100)
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content) if packed else content)
    with little_memory(), pytest.raises(PresynError, match="images.*header says"):
        read_idx(path)


@pytest.mark.parametrize("honest", [False, True])
def test_a_gzip_bomb_takes_no_memory(tmp_path, honest):
    size = 1 << 28
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"\0\0\x08\x03" + struct.pack(">3I", size >> 20 if honest else 1, 1024, 1024))
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    with little_memory(), pytest.raises(PresynError, match="bomb.gz.*header says"):
        read_idx(path)
    with little_memory(), pytest.raises(PresynError, match="bomb.gz holds more than"):
        read_file(path, 1 << 20)


def place(kind, path):
    """Something at a path that is no file of images."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)
    return path


@pytest.mark.parametrize("kind", ["pipe", "folder", "/dev/zero", "/dev/null", "nowhere"])
def test_what_is_no_regular_file_is_never_opened(tmp_path, kind):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        place(kind, raw / name)
    for read in (lambda: load("mnist", tmp_path), lambda: read_arrays(raw), lambda: read_idx(raw / "t10k-labels-idx1-ubyte")):
        with pytest.raises(PresynError, match="ubyte"):
            read()
    if kind != "folder":
        with pytest.raises(PresynError, match="own.npz"):
            read_arrays(place(kind, tmp_path / "own.npz"))


def test_a_path_with_a_null_character_is_named(tmp_path):
    for read in (
        lambda: load("mnist", f"{tmp_path}/\0"),
        lambda: read_arrays(Path("a\0b")),
        lambda: read_idx(Path("a\0b")),
        lambda: Benchmark(name="b", dataset="mine", source="a\0b.npz").load(),
        lambda: read_arrays(Path("a" * 5000)),
    ):
        with pytest.raises(PresynError) as e:
            read()
        assert "\0" not in str(e.value)


def test_labels_that_are_codes_rather_than_classes_are_refused(tmp_path):
    x = np.arange(12, dtype=np.uint8).reshape(4, 3)
    for y in (np.array([0, 1, 2, 10**12]), np.array([0, 1, 2, 2**64 - 1], np.uint64)):
        np.savez(tmp_path / "codes.npz", train_x=x, train_y=y, test_x=x, test_y=y)
        with pytest.raises(PresynError, match="codes.npz: training labels must be the numbers of classes"):
            read_arrays(tmp_path / "codes.npz")
