"""Images of one's own are read from IDX files or an .npz, and every way they can be wrong is one message that names it."""

import gzip
import struct

import numpy as np
import pytest

from presyn import Benchmark, PresynError, make_run, train
from presyn.user_data import read_arrays

X = np.arange(30 * 16, dtype=np.uint8).reshape(30, 4, 4)
Y = np.arange(30) % 3


def write_npz(path, **changes):
    arrays = {"train_x": X[:20], "train_y": Y[:20], "test_x": X[20:], "test_y": Y[20:]} | changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def write_folder(folder):
    folder.mkdir()
    for subset, x, y in (("train", X[:20], Y[:20]), ("t10k", X[20:], Y[20:])):
        (folder / f"kmnist-{subset}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (folder / f"kmnist-{subset}-labels-idx1-ubyte").write_bytes(idx(y))
    return folder


def test_both_forms_and_keras_names_hold_the_same(tmp_path):
    keras = {"train_x": None, "train_y": None, "test_x": None, "test_y": None}
    keras |= {"x_train": X[:20], "y_train": Y[:20], "x_test": X[20:], "y_test": Y[20:]}
    forms = [write_npz(tmp_path / "a.npz"), write_folder(tmp_path / "raw"), write_npz(tmp_path / "k.npz", **keras)]
    for form in forms:
        arrays = read_arrays(form)
        assert arrays[0].shape == (20, 16) and arrays[3].tolist() == Y[20:].tolist() and arrays[1].dtype == np.int64
    hashes = {Benchmark(name="b", dataset="mine", source=str(f), kind="permuted").load().sha256 for f in forms}
    assert len(hashes) == 1


def test_inputs_are_normalised_by_the_training_images_or_as_said(tmp_path):
    path = str(write_npz(tmp_path / "a.npz"))
    data = Benchmark(name="b", dataset="mine", source=path).load()
    x = (data.train_x - data.offset) * data.scale
    assert abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 1e-3 and data.classes == 3
    plain = Benchmark(name="b", dataset="mine", source=path, mean=0.0, deviation=1.0).load()
    assert ((plain.train_x - plain.offset) * plain.scale).max() == pytest.approx(1) and plain.sha256 == data.sha256


def test_npy_files_hold_what_an_npz_file_holds(tmp_path):
    expected = read_arrays(write_npz(tmp_path / "a.npz"))
    arrays = {"train_x": X[:20], "train_y": Y[:20], "test_x": X[20:], "test_y": Y[20:]}
    other_names = {"X_train": X[:20], "y_train": Y[:20], "X_test": X[20:], "y_test": Y[20:]}
    by_words = {"train_images": X[:20], "train_labels": Y[:20], "test_images": X[20:], "test_labels": Y[20:]}
    for number, names in enumerate((arrays, other_names, by_words)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, array in names.items():
            np.save(folder / f"{name}.npy", array.astype(np.int64))  # pixels as people have them
        read = read_arrays(folder)
        assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(read, expected, strict=True))
    with pytest.raises(PresynError, match="train_images.npy is one array: give the folder"):
        read_arrays(folder / "train_images.npy")
    (folder / "train_images.npy").write_bytes(b"hello")
    with pytest.raises(PresynError, match="train_images.npy is not an .npy file of numbers"):
        read_arrays(folder)


def test_floating_point_images_are_taken_as_they_are(tmp_path):
    pixels, floats = write_npz(tmp_path / "pixels.npz"), tmp_path / "floats.npz"
    np.savez(floats, train_x=X[:20] / 255, train_y=Y[:20], test_x=X[20:] / 255, test_y=Y[20:])
    whole, fractions = (
        Benchmark(name="b", dataset="mine", source=str(path), mean=0.1, deviation=0.3).load() for path in (pixels, floats)
    )
    assert fractions.train_x.dtype == np.float32 and fractions.sha256 != whole.sha256
    inputs = [(data.train_x.astype(np.float32) - data.offset) * data.scale for data in (whole, fractions)]
    np.testing.assert_allclose(*inputs, rtol=1e-5, atol=1e-6)
    measured = Benchmark(name="b", dataset="mine", source=str(floats)).load()
    x = (measured.train_x - measured.offset) * measured.scale
    assert abs(x.mean()) < 1e-4 and abs(x.std() - 1) < 1e-4
    tasks = {"name": "b", "kind": "single", "tasks": 1, "epochs": 2, "batch_size": 5, "hidden": (8,), "dataset": "mine"}
    runs = [[make_run("presynaptic", Benchmark(**tasks, source=str(p), mean=0.1, deviation=0.3), 1)] for p in (pixels, floats)]
    (a,), (b,) = (train(run, device="cpu") for run in runs)
    assert a.loss == pytest.approx(b.loss, rel=1e-3), "the same images train the same network"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_x": X[:20].astype(float)}, "training images are floating-point numbers, test images whole numbers"),
        ({"train_x": X[:20].astype(int) + 250}, "whole numbers from 250 to .* pixels are from 0 to 255"),
        ({"train_x": np.full((20, 4, 4), np.inf), "test_x": X[20:] * 1.0}, "training images hold numbers that are infinite"),
        ({"train_x": X[:20] > 3}, "training images must be whole numbers from 0 to 255 or floating-point"),
        ({"test_y": Y[20:].astype(float)}, "test labels must be whole numbers"),
        ({"test_y": Y[20:] - 5}, "test labels must be whole numbers from 0"),
        ({"train_y": Y[:19]}, "20 training images and 19 training labels"),
        ({"train_x": X[:0], "train_y": Y[:0]}, "there are no training images, or they have no pixels"),
        ({"test_x": X[20:, :3]}, "training images are .*, test images"),
        ({"test_y": Y[20:] + 5}, "test labels have classes that the training labels lack"),
        ({"train_x": None}, "must hold the arrays train_x, train_y, test_x, test_y, but holds"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, changes, says):
    with pytest.raises(PresynError, match=f"bad.npz.*{says}"):
        read_arrays(write_npz(tmp_path / "bad.npz", **changes))


def test_files_that_are_not_there_or_damaged_are_named(tmp_path):
    with pytest.raises(PresynError, match="no.npz is not there"):
        read_arrays(tmp_path / "no.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(PresynError, match="text.npz is not an .npz file"):
        read_arrays(tmp_path / "text.npz")
    folder = write_folder(tmp_path / "raw")
    labels = folder / "kmnist-train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-3])
    with pytest.raises(PresynError, match="train-labels.* holds 17 bytes, but its header says 20"):
        read_arrays(folder)
    labels.write_bytes(b"\0\0\x0d\x01rest")
    with pytest.raises(PresynError, match="is not an IDX file of bytes"):
        read_arrays(folder)
    labels.unlink()
    with pytest.raises(PresynError, match="one IDX or .npy file with train and labels in its name; there is none"):
        read_arrays(folder)


def test_a_file_that_was_written_again_is_read_again(tmp_path, monkeypatch):
    """And a path that is relative is of the folder that one is in."""
    digests = []
    for folder, images in (("a", X), ("b", X[::-1])):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        write_npz(tmp_path / folder / "mine.npz", train_x=images[:20].copy())
        digests.append(Benchmark(name="b", dataset="mine", source="mine.npz").load().sha256)
    write_npz(tmp_path / "b" / "mine.npz", train_x=X[:20] // 2)
    digests.append(Benchmark(name="b", dataset="mine", source="mine.npz").load().sha256)
    assert len(set(digests)) == 3


def test_dark_images_of_floating_point_numbers_are_trained_on(tmp_path):
    """They are multiplied whole: the lit pixels are kept as bytes."""
    dark = np.where(X > 200, X, 0)
    pixels, floats = write_npz(tmp_path / "pixels.npz", train_x=dark[:20], test_x=dark[20:]), tmp_path / "floats.npz"
    np.savez(floats, train_x=dark[:20] / 255, train_y=Y[:20], test_x=dark[20:] / 255, test_y=Y[20:])
    tasks = {"name": "b", "kind": "single", "tasks": 1, "epochs": 2, "batch_size": 5, "hidden": (8,), "dataset": "mine"}
    runs = [[make_run("sgd", Benchmark(**tasks, source=str(p), mean=0.1, deviation=0.3), 1)] for p in (pixels, floats)]
    (whole,), (fractions,) = (train(run, device="cpu") for run in runs)
    assert (whole.arithmetic, fractions.arithmetic) == ("lit", "dense") and whole.loss == pytest.approx(
        fractions.loss, rel=1e-3
    )
    with pytest.raises(PresynError, match="lit is for images of whole numbers"):
        train(runs[1], device="cpu", arithmetic="lit")


def test_names_of_ones_own_and_of_what_comes_along_are_told_apart():
    with pytest.raises(PresynError, match="dataset must be one of mnist.*say with source"):
        Benchmark(name="b", dataset="kmnist")
    with pytest.raises(PresynError, match="'mnist' comes along: give the images of source another name"):
        Benchmark(name="b", dataset="mnist", source="x.npz")
