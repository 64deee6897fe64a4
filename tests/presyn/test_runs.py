"""Configuration: typed, checked, resolved in a fixed order; identity: what makes two runs the same."""

import pytest

from presyn import Benchmark, PresynError, make_run

IDENTITY = make_run("presynaptic", "permuted-mnist", 2019).run_id("data")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"p_upp": 0.1}, r"Unknown field of presynaptic on split-mnist 'p_upp'. Did you mean p_up\?.*Known: .*p_freeze"),
        ({"p_up": 1.5}, "p_up must be between 0.0 and 1.0, not 1.5"),
        ({"p_up": "much"}, "p_up must be a number, not 'much'"),
        ({"p_up": float("nan")}, "p_up must be a finite number, not nan"),
        ({"g_lim": float("inf")}, "g_lim must be a finite number, not inf"),
        ({"mean": 0.0, "deviation": 1.0}, "mean and deviation are for images of one's own.*set dataset to mnist-unit"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"modulate_lr": 1}, "modulate_lr must be true or false"),
        ({"bias": "some"}, "bias must be one of none, fixed, trained"),
        ({"rule": "new"}, "rule must be one of released, printed"),
    ],
)
def test_bad_fields_are_named_with_the_fix(overrides, message):
    with pytest.raises(PresynError, match=message):
        make_run("presynaptic", "split-mnist", 1, overrides)


def test_unknown_names_list_the_known():
    with pytest.raises(PresynError, match="Unknown method 'presinaptic'. Did you mean presynaptic"):
        make_run("presinaptic", "split-mnist", 1)
    with pytest.raises(PresynError, match="Unknown benchmark 'mnits'.*Known: .*split-mnist"):
        make_run("sgd", "mnits", 1)
    with pytest.raises(PresynError, match="seed must be a whole number"):
        make_run("sgd", "mnist", -1)


@pytest.mark.parametrize(
    ("method", "benchmark", "settings"),
    [
        (
            "presynaptic",
            "permuted-fashion",
            {"p_up": 0.0520, "p_down": 0.0516, "g_lim": 0.001, "p_freeze": 0.9353, "eta0": 0.01},
        ),
        ("presynaptic", "split-fashion", {"eta0": 0.001, "bias": "fixed", "p_step": "scaled", "threshold": "ge"}),
        ("presynaptic", "mnist", {"p_up": 0.07, "p_down": 0.07, "p_freeze": 1.0, "eta0": 0.05, "modulate_lr": False}),
        ("sgd", "permuted-mnist", {"optimizer": "sgd", "eta0": 1e-3}),
        ("sgd", "permuted-fashion", {"optimizer": "adam", "eta0": 1e-6}),
        ("sgd", "split-mnist", {"optimizer": "adam", "eta0": 1e-6}),
        ("sgd", "split-fashion", {"optimizer": "sgd", "eta0": 1e-4}),
        ("joint", "split-fashion", {"optimizer": "adam", "eta0": 1e-3}),
    ],
)
def test_defaults_are_the_published_settings(method, benchmark, settings):
    config = make_run(method, benchmark, 2019).config()
    assert {k: config[k] for k in settings} == settings


def test_a_preset_that_resolves_to_the_same_options_is_the_same_run():
    printed = make_run("presynaptic", "permuted-mnist", 2019, {"rule": "printed"})
    spelled = {"p_step": "additive", "threshold": "gt", "bias": "none", "p_up": 0.0516, "p_down": 0.0520}
    assert printed.run_id("data") == make_run("presynaptic", "permuted-mnist", 2019, spelled).run_id("data") != IDENTITY


def test_identity_is_configuration_seed_data_and_rules():
    assert make_run("presynaptic", "permuted-mnist", 2019, {"p_up": 0.052}).run_id("data") == IDENTITY
    others = [
        make_run("presynaptic", "permuted-mnist", 2020).run_id("data"),
        make_run("presynaptic", "permuted-mnist", 2019).run_id("other data"),
        make_run("presynaptic", "permuted-mnist", 2019, {"p_up": 0.053}).run_id("data"),
        make_run("presynaptic", "permuted-mnist", 2019, {"validation": 1000}).run_id("data"),
    ]
    assert len({IDENTITY, *others}) == 5


def test_identities_are_frozen():
    # A change here orphans every stored result: give a new option a default that leaves old identities alone.
    assert IDENTITY == "4f147146f7d9116d"


def test_numbers_that_yaml_reads_as_words_are_numbers():
    assert make_run("sgd", "mnist", 1, {"eta0": "1e-3"}).options.eta0 == 1e-3


def test_benchmark_fields_can_be_set_and_none_is_a_word():
    run = make_run("presynaptic", "split-mnist", 1, {"epochs": 1, "hidden": [50], "release": "none"})
    assert run.benchmark.epochs == 1 and run.benchmark.hidden == (50,) and run.options.release is None
    assert isinstance(run.benchmark, Benchmark)
