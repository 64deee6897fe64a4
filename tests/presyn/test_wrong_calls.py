"""Whatever Python's users pass wrongly ends in one line that names it, and never in other numbers."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from presyn import Benchmark, Cohort, Dataset, PresynError, Record, Run, choose_device, load, make_run, make_schedule, train
from presyn.benchmarks import PATTERNS
from presyn.cohorts import make_cohort
from presyn.methods import METHODS
from presyn.methods.sgd import SGD, SGDOptions
from presyn.options import option
from presyn.random_numbers import Purpose, keys, permutation

SMALL = {"epochs": 1, "tasks": 2, "hidden": [8]}
RUN = make_run("sgd", "split-digits", 1, SMALL)
OTHERS = {
    "another seed": make_run("sgd", "split-digits", 2, SMALL),
    "another eta0": make_run("sgd", "split-digits", 1, {**SMALL, "eta0": 0.3}),
    "other epochs": make_run("sgd", "split-digits", 1, {**SMALL, "epochs": 2}),
    "another method": make_run("presynaptic", "split-digits", 1, SMALL),
}


@pytest.fixture(scope="module")
def data():
    return load("digits")


def save(run, data):
    cohort = Cohort([run], data, "cpu")
    cohort.train_segment()
    return cohort.save()


def finish(runs, data, saved=None):
    cohort = Cohort(runs, data, "cpu", saved)
    while not cohort.done:
        cohort.train_segment()
    return cohort.records[0].accuracy


@pytest.mark.parametrize(
    "runs", [RUN, (r for r in [RUN]), {RUN}, None, "run", [RUN, None], 3, []], ids=lambda runs: type(runs).__name__
)
def test_runs_are_a_list_of_runs(data, runs):
    for use in (lambda: train(runs, data), lambda: train(runs), lambda: Cohort(runs, data, "cpu")):
        with pytest.raises(PresynError, match="runs"):
            use()


@pytest.mark.parametrize("tick", [None, 3, "x"])
def test_tick_is_a_function(data, tick):
    with pytest.raises(PresynError, match="tick must be a function"):
        train([RUN], data, tick=tick)


CHANGES = {
    "train_x": (
        lambda x: x.astype(float), lambda x: x.astype(np.int8), lambda x: x.reshape(-1, 8, 8), lambda x: x[:-1],
        lambda x: x[:0],
        lambda x: x.tolist(), lambda x: torch.from_numpy(x), lambda x: None, lambda x: x[:, :60],
    ),
    "train_y": (
        lambda y: y.astype(float), lambda y: y - 1, lambda y: y[:-1], lambda y: y.reshape(-1, 1), lambda y: y * 10**9,
        lambda y: y.astype(bool), lambda y: None, lambda y: list(y),
    ),
    "test_x": (lambda x: x[:, :60], lambda x: x[:3]),
    "test_y": (lambda y: y - 9, lambda y: y.astype(bool)),
    "sha256": (lambda s: None,),
    "name": (lambda s: 3,),
    "scale": (lambda s: "x", lambda s: float("nan"), lambda s: None),
    "offset": (lambda s: None, lambda s: float("inf")),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_data_of_another_type_shape_or_length_are_refused_by_name(data, name):
    for change in CHANGES[name]:
        with pytest.raises(PresynError, match=f"{name}|they must have as many"):
            replace(data, **{name: change(getattr(data, name))})


def test_arrays_make_a_data_set_or_a_message(data):
    arrays = [data.train_x, data.train_y, data.test_x, data.test_y]
    narrow = [data.train_x, data.train_y.astype(np.int16), data.test_x, data.test_y.astype(np.uint8)]
    assert Dataset.from_arrays("d", narrow).sha256 == data.sha256
    for bad in (
        None,
        arrays[:3],
        [*arrays, 1],
        [arrays[0].astype(float), *arrays[1:]],
        [arrays[0], arrays[1] - 3, *arrays[2:]],
    ):
        with pytest.raises(PresynError):
            Dataset.from_arrays("d", bad)
    for pixels in (
        3,
        (16, 0),
        (16, 0, 0),
        (0, 0, 1),
        (float("inf"), 0, 1),
        (16, 0, float("inf")),
        ("a", 1, 2),
        (16, 0, float("nan")),
    ):
        with pytest.raises(PresynError):
            Dataset.from_arrays("d", arrays, pixels)


def test_a_data_set_prints_in_one_line(data):
    assert repr(data) == "Dataset('digits': 1437 training and 360 test images of 64 pixels, 10 classes)"


@pytest.mark.parametrize("labels", [lambda y: y + 1, lambda y: y // 2 * 2, lambda y: y % 5])
def test_a_split_task_has_images_of_both_its_classes(data, labels):
    odd = replace(data, train_y=labels(data.train_y), test_y=labels(data.test_y))
    run = make_run("sgd", "split-digits", 1, {"epochs": 1})
    for use in (lambda: train([run], odd), lambda: make_schedule(run, odd)):
        with pytest.raises(PresynError, match="Task . of split-digits .* has no trained and tested images of class"):
            use()


def test_what_validation_takes_is_said(data):
    lowered = {"validation": 1430, "batch_size": 2}
    with pytest.raises(PresynError, match="validation 1430 takes them, lower it"):
        make_schedule(make_run("sgd", "split-digits", 1, lowered), data)
    with pytest.raises(PresynError, match="batch_size 8000 is more than the 7185 training images of all tasks: lower it[.]"):
        make_schedule(make_run("joint", "permuted-digits", 1, {"batch_size": 8000}), data)


def test_what_cannot_be_shuffled_or_grouped_is_said(data):
    with pytest.raises(PresynError, match="At most 1,048,576 images or pixels can be shuffled, not 1,048,577"):
        permutation(keys([0], Purpose.ORDER), (1 << 20) + 1)
    small = replace(data, train_x=data.train_x[:, :5], test_x=data.test_x[:, :5])
    run = make_run("presynaptic", "digits", 1, {"hidden": (1,), "measures": ("raises",), "epochs": 1, "drop_below": 0.0})
    with pytest.raises(PresynError, match="raises needs at least 15 synapses"):
        make_cohort([run], replace(small, train_y=data.train_y % 2, test_y=data.test_y % 2), "cpu")


def test_a_method_learns_what_it_is_for_and_has_no_option_of_a_benchmarks_name(data, monkeypatch):
    patterns = make_run("perceptron", PATTERNS.name, 1)
    with pytest.raises(PresynError, match="perceptron learns random patterns, not images"):
        replace(patterns, benchmark=make_run("sgd", "digits", 1).benchmark)
    none_of_images = {"measures": (), "parts": "task"}
    with pytest.raises(PresynError, match="sgd learns images, and .* has none"):
        make_run(
            "sgd",
            "digits",
            1,
            {"kind": "patterns", "dataset": "patterns", "patterns": 10, "inputs": 5, "hidden": (), **none_of_images},
        )
    other = replace(patterns, benchmark=replace(patterns.benchmark, patterns=10 * patterns.benchmark.tasks))
    with pytest.raises(PresynError, match="has 10 patterns, not"):
        make_cohort([other], patterns.benchmark.load(), "cpu")

    @dataclass(frozen=True)
    class SeededOptions(SGDOptions):
        seed: int = option(1, "another seed")

    class Seeded(SGD):
        Options = SeededOptions

    monkeypatch.setitem(METHODS, "seeded", Seeded)
    with pytest.raises(PresynError, match="seeded has an option seed, which is a field of every run"):
        make_run("seeded", "digits", 1)


def test_a_segment_that_was_interrupted_is_not_gone_on_with(data):
    cohort = make_cohort([make_run("sgd", "split-digits", 1, {"epochs": 2})], data, "cpu")
    with pytest.raises(KeyboardInterrupt):
        cohort.train_segment(lambda steps: (_ for _ in ()).throw(KeyboardInterrupt))
    for use in (cohort.train_segment, cohort.save):
        with pytest.raises(PresynError, match="left half trained"):
            use()


def test_a_split_task_whose_test_images_lack_a_class_is_refused(data):
    kept = data.test_y != 3
    lacking = replace(data, test_x=data.test_x[kept], test_y=data.test_y[kept])
    with pytest.raises(PresynError, match="Task 2 of split-digits .* no trained and tested images of class 3"):
        train([RUN], lacking)


@pytest.mark.parametrize(
    "seed", [True, np.bool_(True), "1", -1, 2**63, 2**70, 1.5, float("nan"), None, [1], np.uint64(2**64 - 1)]
)
def test_a_seed_is_a_whole_number(seed):
    for make in (lambda: make_run("sgd", "split-digits", seed), lambda: Run("sgd", RUN.options, RUN.benchmark, seed)):
        with pytest.raises(PresynError, match="seed must be a whole number"):
            make()


@pytest.mark.parametrize(
    "overrides",
    [{"hidden": {8: 9}}, {"hidden": {8, 9}}, {"hidden": b"ab"}, {"hidden": [[1]]}, {"hidden": [True]},
     {"measures": {"energy": 1}},
     {"epochs": np.array([1, 2])}, {"eta0": 1j}, {"epochs": 10**400}, {"optimizer": b"sgd"}],
    ids=str,
)  # fmt: skip
def test_options_of_a_wrong_type_are_refused_by_name(overrides):
    with pytest.raises(PresynError, match=f"^{next(iter(overrides))} must be"):
        make_run("sgd", "split-digits", 1, overrides)


def test_a_run_that_is_put_together_by_hand_is_checked():
    for arguments in (
        ("nope", RUN.options, RUN.benchmark, 1),
        ("sgd", None, RUN.benchmark, 1),
        ("sgd", RUN.options, "digits", 1),
    ):
        with pytest.raises(PresynError):
            Run(*arguments)
    with pytest.raises(PresynError, match="options must be those of sgd"):
        Run("sgd", OTHERS["another method"].options, RUN.benchmark, 1)
    assert Run("sgd", RUN.options, RUN.benchmark, np.int64(1)) == RUN
    for digest in (None, 3, b"x"):
        with pytest.raises(PresynError, match="sha256"):
            RUN.run_id(digest)


def test_saved_states_resume_as_often_as_one_likes(data):
    saved, whole = save(RUN, data), finish([RUN], data)
    assert finish([RUN], data, saved) == finish([RUN], data, saved) == whole
    assert [len(s["record"]["ended"]) for s in saved] == [1]


@pytest.mark.parametrize("other", OTHERS)
def test_a_saved_state_is_refused_by_another_run(data, other):
    with pytest.raises(PresynError, match="saved state for .* is one of another run"):
        finish([OTHERS[other]], data, save(RUN, data))


def test_saved_states_that_are_swapped_or_of_another_number_are_refused(data):
    both = [RUN, OTHERS["another seed"]]
    states = [save(run, data)[0] for run in both]
    for runs, saved in ((both, states[::-1]), (both, states[:1]), ([RUN], states), ([RUN], []), ([RUN], "x"), ([RUN], [None])):
        with pytest.raises(PresynError, match="[Ss]aved state"):
            finish(runs, data, saved)


STATE_CHANGES = (
    lambda s: s | {"record": {}},
    lambda s: s | {"record": None},
    lambda s: s | {"record": s["record"] | {"accuracy": [[9.0, None]]}},
    lambda s: s | {"record": s["record"] | {"status": "dropped"}},
    lambda s: s | {"state": {}},
    lambda s: s | {"state": None},
    lambda s: s | {"state": {k: v[:-1] for k, v in s["state"].items()}},
    lambda s: s | {"state": {k: v.double() for k, v in s["state"].items()}},
    lambda s: s | {"state": {k: v.numpy() for k, v in s["state"].items()}},
    lambda s: s | {"state": {k: v * float("nan") for k, v in s["state"].items()}},
    lambda s: {k: v for k, v in s.items() if k != "run"},
)


@pytest.mark.parametrize("change", STATE_CHANGES)
def test_a_saved_state_that_cohorts_do_not_give_is_refused(data, change):
    with pytest.raises(PresynError, match="[Ss]aved state"):
        finish([RUN], data, [change(save(RUN, data)[0])])


def test_steps_and_segments_that_are_not_there_are_refused(data):
    cohort = Cohort([RUN], data, "cpu")
    for use in (lambda: cohort.make_steps(99), lambda: cohort.measure(0), lambda: cohort.measure("x")):
        with pytest.raises(PresynError):
            use()
    finish([RUN], data)
    done = Cohort([RUN], data, "cpu")
    done.train_segment()
    done.train_segment()
    with pytest.raises(PresynError, match="All segments"):
        done.train_segment()


@pytest.mark.parametrize("device", ["meta", torch.device("meta"), "gpu", 0, 3, b"cpu", True, "cpu:-1"])
def test_a_device_without_numbers_is_none(data, device):
    with pytest.raises(PresynError, match="device"):
        choose_device(device)
    with pytest.raises(PresynError, match="device"):
        train([RUN], data, device)


@pytest.mark.parametrize("root", [3, True, b"/tmp", ["a"], "a" * 5000, "\ud800", "a\0b"])
def test_a_data_folder_is_a_path(root):
    with pytest.raises(PresynError):
        load("mnist", root)


def test_records_and_options_are_made_of_mappings():
    for make in (lambda: Record.from_dict(3), lambda: Benchmark.build(None), lambda: make_schedule(RUN, None)):
        with pytest.raises(PresynError):
            make()
    for accuracy in ([], [[]], [[None, None]]):
        assert Record(status="finished", accuracy=accuracy).mean_accuracy is None


@pytest.mark.parametrize("method", ["presynaptic", "ewc", "bgd"])
def test_settings_of_torch_change_no_bit(data, method):
    run = make_run(method, "split-digits", 1, SMALL)

    def state():
        cohort = Cohort([run], data, "cpu")
        while not cohort.done:
            cohort.train_segment()
        return cohort.save()[0]

    whole = state()
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            other = state()
            assert torch.get_default_dtype() == dtype
        finally:
            torch.set_default_dtype(torch.float32)
        assert all(other["state"][name].equal(values) for name, values in whole["state"].items())
    for world in (torch.device("meta"), torch.inference_mode(), torch.autocast("cpu"), torch.no_grad()):
        with world:
            other = state()
        assert all(other["state"][name].equal(values) for name, values in whole["state"].items())
        assert other["record"]["accuracy"] == whole["record"]["accuracy"]
