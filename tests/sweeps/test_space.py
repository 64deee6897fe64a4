"""Search spaces are checked on load, and draw the same configurations for ever."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import optuna
import pytest

from presyn import PresynError
from presyn.benchmarks import SEARCH_SEEDS
from sweeps.files import read_benchmark
from sweeps.halving import Halving
from sweeps.manifest import _digest, draw_trials, frozen_round
from sweeps.space import read_space, space_names
from sweeps.study import make_study, store_study
from sweeps.trials import Outcome, trial_runs

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


def frozen_trials(space, folder):
    return frozen_round(space, 0, [], [], folder)


def first(space, trials):
    """Its first configurations."""
    return draw_trials(replace(space, trials=trials))


@pytest.mark.parametrize("name", space_names())
def test_every_shipped_space_loads_and_keeps_the_test_set_unread(name):
    space = read_space(name)
    runs = trial_runs(space, first(space, 3))
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
        (("{choices: [0.1, 0.01]}", "{low: 0.01, high: 1" + "0" * 330 + "}"), "space.yaml: eta0 under search is not a range"),
        (("search:", "search:\n  samples: {low: 1, high: 4}"), "space.yaml: samples is a whole number.*{choices: "),
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
    drawn = frozen_trials(space, tmp_path / "m")
    assert frozen_trials(space, tmp_path / "m") == drawn == draw_trials(space)
    path = next((tmp_path / "m").iterdir())
    whole = path.read_text()
    for damage in (whole[:50], "", "[]", "{}", whole.replace('"p_up": 0.0', '"p_up": 0.1'), "[" * 100_000):
        path.write_text(damage)
        assert frozen_trials(space, tmp_path / "m") == drawn and path.read_text() == whole  # drawn again, the same


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("trials: 5", "trials: 5\ntrials: 6", "line 5 is not YAML: trials is given twice"),
        ("{low: 0.01, high: 0.1}", "{low: 0.01, low: 0.02, high: 0.1}", "low is given twice"),
        ("epochs: 1}", "epochs: 1, p_up: 0.05}", "p_up is both fixed and searched"),
        ("trials: 5", "trials: 2020-01-01", "trials must be a whole number"),
        ("trials: 5", f"trials: {10**400}", "trials must be a whole number"),
        ("trials: 5", f"trials: 1{'0' * 5000}", "is not YAML: Exceeds the limit"),
        ("trials: 5", f"trials: {'[' * 5000}", "nested too deeply"),
        ("trials: 5", "trials: \0", "is not YAML: unacceptable character"),
        ("trials: 5", "1: 5", "a field is a word, not 1"),
        ("epochs: 1}", "epochs: {{ epochs }}}", "line 6 is not YAML: a key must be a word"),
        ("trials: 5", "[trials]: 5", "line 4 is not YAML: a key must be a word"),
    ],
)
def test_a_file_that_says_two_things_or_none_is_refused_in_one_line(write, old, new, said):
    with pytest.raises(PresynError, match=f"space.yaml.*{said}") as e:
        read_space(write(GOOD.replace(old, new, 1)))
    assert "\n" not in str(e.value)


def test_nothing_behind_a_key_is_as_without_it(write):
    blank = GOOD.replace("trials: 5", "trials:").replace("sampler_seed: 3", "sampler_seed:\nseeds:\nbatch:")
    without = GOOD.replace("trials: 5\n", "").replace("sampler_seed: 3\n", "")
    assert read_space(write(blank)) == replace(read_space(write(without, "without.yaml")), name="space")


def test_halving_keeps_the_share_that_is_asked_for():
    assert [Halving((1,), keep).count(trials) for keep, trials in ((0.28, 25), (0.07, 100), (0.5, 5), (0.01, 3))] == [
        7,
        7,
        3,
        1,
    ]


def test_choices_and_settings_are_what_the_option_holds(write):
    text = GOOD.replace("search:", "search:\n  release: {choices: [none, 0.5]}").replace("[0.1, 0.01]", "['0.05', 0.05, 1]")
    space = read_space(write(text.replace("validation: 300", "validation: 300, tasks: '2'")))
    assert space.search["release"].choices == (None, 0.5) and space.search["eta0"].choices == (0.05, 1)
    assert space.tasks == 2


def test_numbers_are_numbers_however_they_are_written(write):
    text = GOOD.replace("1.0e-4", "1e-4").replace("[0.1, 0.01]", "[1e-1, 1e-2]")
    assert read_space(write(text)).identity() == read_space(write(GOOD, "other.yaml")).identity()


def test_a_grid_smaller_than_its_trials_is_refused(write):
    grid = GOOD.replace("trials: 5", "sampler: grid\ntrials: 5").replace("{low: 0.01, high: 0.1}", "{choices: [0.1, 0.05]}")
    grid = grid.replace("{low: 1.0e-4, high: 1.0e-2, log: true}", "{choices: [1e-3]}")
    with pytest.raises(PresynError, match="trials is 5, but the grid has 4 points"):
        read_space(write(grid))


def test_a_file_is_read_as_utf8_whatever_the_locale(write):
    code = "import sys; from sweeps.space import read_space; print(read_space(sys.argv[1]).trials)"
    path = write("# μ̄ ± ℓ2\n" + GOOD)
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, env=env, timeout=300)
    assert done.stdout.strip() == "5", done.stderr


def test_a_study_database_of_noise_is_set_aside(write, tmp_path, capsys):
    space = read_space(write(GOOD))
    trials = first(space, 1)
    outcome = Outcome("finished", (0.5,))
    path = tmp_path / "optuna.db"
    path.write_bytes(b"noise" * 100)
    store_study(make_study(space, trials, [outcome]), path)
    assert "optuna.db was no database" in capsys.readouterr().err and (tmp_path / "optuna.damaged").exists()
    assert len(optuna.load_study(study_name=space.name, storage=f"sqlite:///{path}").trials) == 1


def test_the_study_opens_in_optuna_with_every_outcome(write, tmp_path):
    space = read_space(write(GOOD))
    trials = first(space, 4)
    so_far = {0: 0.8}
    outcomes = [Outcome("finished", (0.7,), so_far), Outcome("dropped", (), so_far), Outcome("diverged"), Outcome("halved")]
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(2):  # writing it again replaces it
        store_study(make_study(space, trials, outcomes), tmp_path / "study.db")
    study = optuna.load_study(study_name="space", storage=storage)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "PRUNED"]
    assert study.best_params == trials[0].params and study.best_value == 0.7
    assert study.trials[1].intermediate_values == {0: 0.8}


def test_a_grid_draws_every_combination_once():
    space = read_space("bgd-permuted-mnist")
    drawn = draw_trials(space)
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
    with pytest.raises(PresynError, match="objective lesion_p is a series"):
        read_space(write(GOOD.replace("epochs: 1", "epochs: 1, measures: [lesion]") + "objective: lesion_p\n"))
    with pytest.raises(PresynError, match="direction must be one of maximize, minimize"):
        read_space(write(GOOD + "direction: up\n"))


def test_two_spaces_of_one_name_have_a_study_each(write, tmp_path):
    path, studies = tmp_path / "optuna.db", []
    for seed in (1, 2, 1):
        space = read_space(write(GOOD.replace("trials: 5\nsampler_seed: 3", f"trials: 2\nsampler_seed: {seed}")))
        trials = draw_trials(space)
        outcome = Outcome("finished", (0.5,), began=998.0, ended=1000.0)
        store_study(make_study(space, trials, [outcome] * 2), path)
        studies.append([s.study_name for s in optuna.get_all_study_summaries(f"sqlite:///{path}")])
    assert [len(s) for s in studies] == [1, 2, 2]
    times = optuna.load_study(study_name=studies[0][0], storage=f"sqlite:///{path}").trials[0]
    assert (times.datetime_start.timestamp(), times.datetime_complete.timestamp()) == (998.0, 1000.0)


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "."])
def test_what_is_no_regular_file_is_refused_before_it_is_read(tmp_path, target):
    path = tmp_path / "endless.yaml"
    path.symlink_to(target)
    for read in (read_space, read_benchmark):
        with pytest.raises(PresynError, match="endless.yaml is a .*, not a file"):
            read(str(path))
    for read in (read_space, read_benchmark):
        with pytest.raises(PresynError, match="null character"):
            read("a\0b.yaml")


def test_a_short_file_that_stands_for_endless_values_is_refused(tmp_path):
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
    (tmp_path / "laughs.yaml").write_text("\n".join(lines))
    with pytest.raises(PresynError, match="laughs.yaml holds more than 200,000 values"):
        read_space(str(tmp_path / "laughs.yaml"))


def test_a_manifest_of_another_search_is_not_believed(tmp_path, capsys):
    space = replace(read_space("presynaptic-permuted-digits"), trials=3)
    other = replace(space, sampler_seed=7)
    trials = frozen_trials(space, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_text()
    frozen_trials(other, tmp_path / "other")
    (stranger,) = (tmp_path / "other").iterdir()

    def changed(**changes):
        frozen = json.loads(whole)
        frozen["trials"][1] |= changes
        return json.dumps(frozen | {"sha256": _digest(frozen["trials"])})

    bad = ["[]", "{", stranger.read_text(), "[" * 100_000, "{}", '{"space": 1, "trials": 2, "sha256": 3}']
    bad += [changed(number=2), changed(seed=-1), changed(params={})]
    bad += [changed(params=trials[1].params | {"p_up": value}) for value in (9.0, float("nan"), "x", None, [1])]
    for text in bad:
        path.write_text(text)
        assert frozen_trials(space, tmp_path) == trials
        assert "is no manifest of this search; it is set aside" in capsys.readouterr().err
        assert path.read_text() == whole, "and frozen again"


@pytest.mark.parametrize(
    ("says", "direction"),
    [
        ("objective: forgetting", "minimize"),
        ("objective: forgetting\ndirection: maximize", "maximize"),
        ("objective: mean_accuracy", "maximize"),
        ("", "maximize"),
        ("objective: energy", "minimize"),
        ("objective: neuronal_energy", "minimize"),
        ("objective: information", "maximize"),
    ],
)
def test_an_objective_of_which_less_is_better_is_minimised(write, says, direction):
    text = GOOD.replace("epochs: 1}", "epochs: 1, measures: [energy, output]}")
    assert read_space(str(write(f"{text}\n{says}\n"))).direction == direction
