"""The benchmark's checks of a device find what is wrong with one, and its report is written whole."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench import checks
from presyn import PresynError, load, make_run, train
from presyn.datasets import Dataset

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def noise():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2000, 784), generator=generator, dtype=torch.uint8).numpy()
    y = torch.randint(0, 10, (2000,), generator=generator).numpy()
    return Dataset("mnist", x, y, x[:1000], y[:1000], "noise")


def test_the_cpu_agrees_with_itself(noise, monkeypatch):
    monkeypatch.setattr(checks, "accuracy_p", lambda device: 1.0)  # trains for long; below
    found = checks.check(noise, CPU)
    assert (
        found["release words"]
        and found["orders"]
        and found["fused update, bit by bit"]
        and found["step, relative difference"] < 1e-6
    )


def test_accuracies_of_the_same_seeds_are_compared_in_pairs(monkeypatch):
    i = np.arange(32)
    plain = 0.8 + 0.01 * (i % 5)
    monkeypatch.setattr(checks, "_accuracies", lambda seeds, device, fuse: plain - fuse * (0.02 + 0.001 * (i % 3)))
    assert checks.accuracy_p(CPU) < checks.FALSE_ALARM
    monkeypatch.setattr(checks, "_accuracies", lambda seeds, device, fuse: plain)
    assert checks.accuracy_p(CPU) == 1.0


def test_the_accuracies_are_those_of_the_seeds_in_order():
    runs = [make_run("presynaptic", "permuted-digits", seed) for seed in range(2)]
    expected = [record.mean_accuracy for record in train(runs, load("digits"), CPU)]
    assert checks._accuracies(2, CPU, False).tolist() == expected and expected[0] != expected[1]


@pytest.mark.parametrize(
    ("broken", "value", "named"),
    [
        ("same_bits", {"release words": False, "orders": True}, "release words"),
        ("step_difference", 1e-2, "a step"),
        ("fused_update_bits", False, "fused update"),
        ("accuracy_p", 1e-9, "accuracies"),
    ],
)
def test_a_device_that_computes_something_else_is_not_timed(noise, monkeypatch, broken, value, named):
    fine = {
        "same_bits": {"release words": True, "orders": True},
        "step_difference": 0.0,
        "accuracy_p": 1.0,
        "fused_update_bits": True,
    }
    for name, result in {**fine, broken: value}.items():
        monkeypatch.setattr(checks, name, lambda *a, result=result: result)
    with pytest.raises(PresynError, match=f"does not compute what the CPU does: {named}"):
        checks.check(noise, CPU)


def test_the_whole_benchmark_on_small_noise(noise, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "data_or_noise", lambda: (noise, "noise"))
    monkeypatch.setattr(bench, "SIZES", (1, 2))
    monkeypatch.setattr(bench, "processes", lambda: {"each further network, MiB": 1.0})  # starts three processes
    monkeypatch.setattr(bench, "orchestration", lambda count: {"runs": count})  # starts Ray
    bench.bench(CPU, tmp_path, True, 7)
    found = json.loads((tmp_path / "bench" / "cpu.json").read_text())
    assert [line["networks"] for line in found["step"]] == [1, 2] and found["orchestration"] == {"runs": 7}
    assert {"inputs", "forward and backward", "update", "products alone"} <= set(found["parts"])
    text = (tmp_path / "bench" / "cpu.md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert {line["networks"][:7] for line in found["arithmetic"]} >= {"3 × pre", "1 × bgd"}
    assert all(line[name] > 0 for line in found["arithmetic"] for name in ("step_ratio", "test_ratio"))
    assert {"dense_ms", "lit_products_ms"} <= set(found["step"][0]) & set(found["test"][0])
    assert {line["width"] for line in found["growth"]} == {100, 200, 400, 800}
    assert (tmp_path / "bench" / "cpu.png").stat().st_size > 5000
    step = pd.DataFrame(found["step"])
    assert (step.to_products - step.presyn_ms / step.products_ms).abs().max() < 1e-2
