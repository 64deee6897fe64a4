"""presyn from Python: what people pass works, or is refused with a message that fits."""

import numpy as np
import pytest
import torch

from presyn import BENCHMARKS, PresynError, load, make_cohort, make_run, train

SMALL = {"epochs": 1, "tasks": 1, "hidden": [8]}


def test_numbers_of_numpy_are_numbers():
    run = make_run(
        "sgd", "split-digits", np.int64(3), {"epochs": np.int32(2), "eta0": np.float32(0.5), "hidden": np.array([8, 4])}
    )
    assert run == make_run("sgd", "split-digits", 3, {"epochs": 2, "eta0": 0.5, "hidden": [8, 4]})
    assert make_run("presynaptic", "digits", 1, {"normalise": np.bool_(False)}).options.normalise is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sgd", 5, 1), "benchmark must be a name"),
        (("sgd", None, 1), "benchmark must be a name"),
        (("sgd", "digits", "1"), "seed must be a whole number"),
        (("sgd", "digits", 1.5), "seed must be a whole number"),
        (("sgd", "digits", True), "seed must be a whole number"),
        (("sgd", "digits", np.float64(1)), "seed must be a whole number"),
        (("sgd", "digits", 1, ["eta0"]), "overrides must be"),
        (("sgd", "digits", 1, {"eta0": [1]}), "eta0 must be a number"),
        (("sgd", "digits", 1, {"eta0": None}), "eta0 must be a number"),
        (("sgd", "digits", 1, {3: 4}), "Unknown field"),
        ((None, "digits", 1), "Unknown method"),
        ((["sgd"], "digits", 1), "Unknown method"),
    ],
)
def test_what_is_none_of_these_is_refused(arguments, words):
    with pytest.raises(PresynError, match=words):
        make_run(*arguments)


@pytest.mark.parametrize("name", [3, None, "mnst", ["mnist"]])
def test_an_unknown_data_set_is_refused(name):
    with pytest.raises(PresynError, match="Unknown dataset"):
        load(name)


def test_runs_and_devices_are_taken_as_people_pass_them():
    data, run = load("digits"), make_run("sgd", "split-digits", 1, SMALL)
    first = train([run], data, "cpu")
    twice = train([run, run], data, torch.device("cpu"))
    assert [r.accuracy for r in twice] == 2 * [first[0].accuracy]
    for runs, words in (([], "no runs"), ([3], "make_run"), (["sgd"], "make_run")):
        with pytest.raises(PresynError, match=words):
            train(runs, data)
    with pytest.raises(PresynError, match="as load reads them"):
        train([run], "digits")
    with pytest.raises(PresynError, match="device"):
        train([run], data, "gpu")


def test_a_run_is_never_trained_on_the_images_of_another_benchmark(tiny):
    run = make_run("sgd", BENCHMARKS["split-mnist"], 1, SMALL)
    with pytest.raises(PresynError, match="split-mnist is on mnist, not on digits"):
        make_cohort([run], tiny, torch.device("cpu"))
