"""A trained network from a kept state gives the answers that its run was tested with."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import cli
from pipeline.trained import trained
from presyn import PresynError, load

SMALL = ["--set", "epochs=2", "tasks=2", "hidden=16", "keep=true", "--json"]


def train_one(capsys, method, benchmark, *settings):
    assert cli.main(["run", "--method", method, "--benchmark", benchmark, *SMALL, *settings]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    return run


def test_it_answers_as_in_the_test_of_its_run(home, capsys):
    run = train_one(capsys, "sgd", "permuted-digits")
    network, data = trained(run["run_id"][:10]), load("digits")
    for task, accuracy in enumerate(run["accuracy"][-1]):
        answers = network(data.test_x, task=task).argmax(dim=1).numpy()
        assert (answers == data.test_y).mean() == pytest.approx(accuracy, abs=1e-6)
    as_squares = network(data.test_x.reshape(-1, 8, 8), task=1)
    assert torch.equal(as_squares, network(data.test_x, task=1)), "without randomness every call gives the same"


def test_sampled_networks_differ_and_their_mean_is_the_mean_network(home, capsys):
    run = train_one(capsys, "presynaptic", "split-digits")
    network, data = trained(run["run_id"]), load("digits")
    first, second = network(data.test_x), network(data.test_x)
    assert first.shape == (360, 2) and not torch.equal(first, second)
    mean = network(data.test_x, sampled=False)
    assert torch.equal(mean, network(data.test_x, sampled=False))
    assert [tuple(layer.shape) for layer in network.layers()] == [(64, 16), (16, 2)]
    draws = torch.stack([network.layers(sampled=True)[1] for _ in range(400)])
    error = draws.std(dim=0) / 20
    # 32 weights: one is beyond 5 standard errors by chance in 1 of 50,000 such tests; the draws are keyed, so it never changes.
    assert ((draws.mean(dim=0) - network.layers()[1]).abs() <= 5 * error + 1e-6).all()
    assert network.state["p"].shape == (1, 64 * 16 + 16 * 2)


def test_what_cannot_be_had_is_named(home, capsys):
    run = train_one(capsys, "sgd", "permuted-digits")
    network, images = trained(run["run_id"]), load("digits").test_x
    with pytest.raises(PresynError, match="say which, task=0 to 1"):
        network(images)
    with pytest.raises(PresynError, match="64 pixels"):
        network(images[:, :10], task=0)
    with pytest.raises(PresynError, match="64 pixels"):
        network(images[0], task=0)
    path = home / ".presyn" / "states" / f"{run['run_id']}.pt"
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:900] + bytes([content[900] ^ 1]) + content[901:], b"", b"x" * 99):
        path.write_bytes(damaged)
        with pytest.raises(PresynError, match="was not kept, or is damaged"):
            trained(run["run_id"])
    assert train_one(capsys, "sgd", "permuted-digits")["run_id"] == run["run_id"] and path.read_bytes() == content
    path.unlink()
    with pytest.raises(PresynError, match="was not kept"):
        trained(run["run_id"])
    with pytest.raises(PresynError, match="no run"):
        trained("0123")


def test_a_network_on_images_of_ones_own_is_told_where_they_are(home, capsys):
    rng = np.random.default_rng(0)
    arrays = {f"{part}_x": rng.integers(0, 256, (n, 4, 4)).astype(np.uint8) for part, n in (("train", 80), ("test", 40))}
    np.savez("mine.npz", **arrays, train_y=np.arange(80) % 4, test_y=np.arange(40) % 4)
    Path("mine.yaml").write_text("source: mine.npz\nkind: single\ntasks: 1\nbatch_size: 10\nhidden: [8]\nepochs: 1\n")
    assert cli.main(["run", "--method", "sgd", "--benchmark", "mine.yaml", "--set", "keep=true", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert trained(run["run_id"], source="mine.npz")(arrays["test_x"]).shape == (40, 4)
    np.savez("mine.npz", **arrays, train_y=np.arange(80) % 4, test_y=np.arange(40)[::-1] % 4)
    from presyn.benchmarks import _load_user_images

    _load_user_images.cache_clear()
    with pytest.raises(PresynError, match="another hash"):
        trained(run["run_id"], source="mine.npz")
