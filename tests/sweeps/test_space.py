"""Search spaces are checked on load, and draw the same configurations for ever."""

from dataclasses import replace

import optuna
import pytest

from presyn import PresynError, Record
from presyn.benchmarks import SEARCH_SEEDS
from sweeps.files import read_benchmark
from sweeps.manifest import draw, manifest, runs_of
from sweeps.space import read_space, space_names
from sweeps.study import keep_study, study_of

GOOD = """
method: presynaptic
benchmark: permuted-digits
trials: 5
sampler_seed: 3
fixed: {validation: 300, epochs: 1}
search:
  p_up: {low: 0.01, high: 0.1}
  g_lim: {low: 1.0e-4, high: 1.0e-2, log: true}
  eta0: {choices: [0.1, 0.01]}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="space.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def first(space, trials):
    """Its first configurations."""
    return draw(replace(space, trials=trials))


@pytest.mark.parametrize("name", space_names())
def test_every_shipped_space_loads_and_keeps_the_test_set_unread(name):
    space = read_space(name)
    runs = runs_of(space, first(space, 3))
    assert all(r.benchmark.validation > 0 and r.seed >= SEARCH_SEEDS for r in runs)
    assert len({r.seed for r in runs}) == 3, "one seed per configuration"


def test_the_papers_search_is_the_one_that_is_asked_for():
    space = read_space("presynaptic-permuted-mnist")
    ranges = {k: (d.low, d.high, d.log) for k, d in space.search.items() if k != "eta0"}
    assert ranges == {
        "p_up": (0.01, 0.1, False),
        "p_down": (0.01, 0.1, False),
        "g_lim": (1e-4, 1e-2, True),
        "p_freeze": (0.9, 0.96, False),
    }
    assert space.search["eta0"].choices == (0.01, 0.001)
    assert space.trials >= 48 and space.fixed["validation"] == 10_000 and space.fixed["drop_below"] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("p_up:", "p_upp:"), r"space.yaml: Unknown field under search 'p_upp'. Did you mean p_up\?"),
        (("trials: 5", "trails: 5"), r"space.yaml: Unknown field 'trails'. Did you mean trials\?"),
        (("trials: 5", "trials: many"), "space.yaml: trials must be a whole number"),
        (("validation: 300", "validations: 300"), "space.yaml: Unknown field of presynaptic.*'validations'"),
        (("high: 0.1}", "high: 1.1}"), "space.yaml: p_up must be between 0.0 and 1.0, not 1.1"),
        (("{low: 0.01, high: 0.1}", "{low: 0.2, high: 0.1}"), "space.yaml: p_up under search is not a range"),
        (("{low: 0.01, high: 0.1}", "0.1"), "space.yaml: p_up under search must be like"),
        (("{choices: [0.1, 0.01]}", "{choices: [0.1], low: 1}"), "space.yaml: eta0 under search must be like"),
        (("method: presynaptic", "method: presinaptic"), "space.yaml: Unknown method 'presinaptic'"),
        (("benchmark: permuted-digits", "benchmark: numbers"), "space.yaml: Unknown benchmark"),
        (("method: presynaptic", ""), "space.yaml: method is missing"),
        (("validation: 300, ", ""), "space.yaml: validation is missing under fixed"),
        (("benchmark: permuted-digits", "benchmark: 5"), "space.yaml: benchmark must be a word"),
        (("search:", "search: ["), "space.yaml line .* is not YAML"),
    ],
    ids=lambda v: v[1] if isinstance(v, tuple) else None,
)
def test_a_bad_space_names_the_file_the_field_and_the_fix(write, change, message):
    assert change[0] in GOOD
    with pytest.raises(PresynError, match=message):
        read_space(write(GOOD.replace(*change)))


def test_unknown_names_and_missing_files_are_named(tmp_path):
    with pytest.raises(PresynError, match="Unknown search space .*Known: .*presynaptic-permuted-mnist"):
        read_space("presynaptic")
    with pytest.raises(PresynError, match="gone.yaml cannot be read: No such file"):
        read_space(str(tmp_path / "gone.yaml"))


def test_a_benchmark_can_be_a_yaml_file(write):
    path = write("dataset: digits\nkind: permuted\ntasks: 3\nhidden: [20]\n", "mine.yaml")
    assert read_benchmark(path).name == "mine" and read_benchmark(path).tasks == 3
    with pytest.raises(PresynError, match="mine.yaml: Unknown field 'task'. Did you mean tasks"):
        read_benchmark(write("task: 3\n", "mine.yaml"))


def test_a_longer_draw_begins_with_the_shorter_one_whatever_the_order_of_fields(write):
    space = read_space(write(GOOD))
    turned = read_space(write(GOOD.replace("  p_up: {low: 0.01, high: 0.1}\n", "") + "  p_up: {low: 0.01, high: 0.1}\n"))
    assert first(space, 20)[:5] == first(space, 5) == first(turned, 5)


def test_the_manifest_is_frozen_and_read_back(write, tmp_path):
    space = read_space(write(GOOD))
    drawn = manifest(space, tmp_path / "m")
    assert manifest(space, tmp_path / "m") == drawn == draw(space)
    path = next((tmp_path / "m").iterdir())
    path.write_text(path.read_text()[:50])
    with pytest.raises(PresynError, match="manifest .* is damaged. Delete it"):
        manifest(space, tmp_path / "m")


def test_the_study_opens_in_optuna_with_every_outcome(write, tmp_path):
    space = read_space(write(GOOD))
    trials = first(space, 3)
    records = [Record(status=status, accuracy=[[0.8, None]]) for status in ("finished", "dropped", "diverged")]
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(2):  # writing it again replaces it
        keep_study(study_of(space, trials, records, [0.7, None, None]), tmp_path / "study.db")
    study = optuna.load_study(study_name="space", storage=storage)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.best_params == trials[0].params and study.best_value == 0.7
    assert study.trials[1].intermediate_values == {0: 0.8}


def test_a_grid_draws_every_combination_once():
    space = read_space("bgd-permuted-mnist")
    drawn = draw(space)
    assert space.trials == len({(t.params["eta0"], t.params["sigma0"]) for t in drawn}) == 12
    assert len({t.seed for t in drawn}) == 12
    assert [t.params["sigma0"] for t in first(space, 4)] == [0.05, 0.05, 0.05, 0.01]  # a smaller budget


def test_a_grid_of_ranges_is_refused(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(
        "method: sgd\nbenchmark: permuted-digits\nsampler: grid\nfixed: {validation: 300}\n"
        "search:\n  eta0: {low: 0.1, high: 0.2}\n"
    )
    with pytest.raises(PresynError, match="grid needs choices under search, but eta0 is a range"):
        read_space(str(path))


def test_a_search_may_name_another_objective(write):
    assert (read_space(write(GOOD)).objective, read_space(write(GOOD)).direction) == ("mean_accuracy", "maximize")
    least = read_space(write(GOOD + "objective: forgetting\ndirection: minimize\n"))
    assert (least.objective, least.direction) == ("forgetting", "minimize") and least.identity() != read_space(
        write(GOOD)
    ).identity()
    with pytest.raises(PresynError, match="Unknown objective 'energie'"):
        read_space(write(GOOD + "objective: energie\n"))
    with pytest.raises(PresynError, match="direction must be one of maximize, minimize"):
        read_space(write(GOOD + "direction: up\n"))
