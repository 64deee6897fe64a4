"""A walk of somebody with a rule, a benchmark, a search space and an experiment of their own, in an empty folder."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.trained import trained
from presyn import BENCHMARKS, METHODS, PresynError, load
from sweeps.user_code import FILE, user_code

DOCS = Path(__file__).parents[2] / "docs"
WEAR = '''
from brakes import Brakes  # a file beside this one
from dataclasses import dataclass
from pipeline.stage import Made, Stage, Wish
from presyn import BENCHMARKS, Benchmark, make_run

SHORT = Benchmark(name="short", dataset="digits", kind="permuted", tasks=2, epochs=1, batch_size=20, hidden=(16,))


@dataclass(frozen=True, eq=False)
class Wear(Stage):
    """Accuracy against wear."""

    seeds: tuple[int, ...] = (1, 2)
    name, title, columns = "wear", "accuracy against wear", ("wear", "seed")

    def ask(self, known):
        return [] if known.rows else [
            Wish(make_run("brakes", SHORT, s, {"eta0": 0.2, "wear": w}), {"wear": w}) for w in (0.0, 10.0) for s in self.seeds
        ]

    def make(self, frame, known):
        table = frame.groupby("wear").mean_accuracy.mean().reset_index()
        return Made(table, {"table.csv": table}, table="table.csv", shown=table)


MINE = Wear()
'''


BARE = "from presyn import METHODS as M\nfrom presyn.methods import Method\nclass Bare(Method):\n    pass\nM['bare'] = Bare"
UNSAID = """
from dataclasses import dataclass
from presyn import METHODS
from presyn.methods.sgd import SGD, SGDOptions

@dataclass(frozen=True)
class UnsaidOptions(SGDOptions):
    wear: float = 1.0

class Unsaid(SGD):
    Options = UnsaidOptions

METHODS["unsaid"] = Unsaid
"""
TASKS = """
from presyn import Benchmark
A = Benchmark(name="{name}", dataset="digits", kind="permuted", tasks=2, epochs=1, batch_size=20, hidden=(16,))
B = Benchmark(name="{name}", dataset="digits", kind="permuted", tasks=3, epochs=1, batch_size=20, hidden=(16,))
"""


def presyn(words):
    return main(shlex.split(words))


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)


@pytest.fixture
def folder(home, monkeypatch):
    """The files of docs/own_folder.md, and the rule of docs/adding_a_method.md."""
    monkeypatch.setenv("RAY_ADDRESS", "local")  # whatever Ray runs on this machine
    Path("brakes.py").write_text("\n".join(blocks("adding_a_method.md", "python")), encoding="utf-8")
    for text in blocks("own_folder.md", "yaml"):
        Path(re.match(r"# (\S+)\n", text)[1]).write_text(text, encoding="utf-8")
    return home


def test_the_walk_of_the_page(folder, here, capsys):
    Path(FILE).write_text(blocks("own_folder.md", "toml")[0], encoding="utf-8")
    commands = [line[2:] for line in blocks("own_folder.md", "console")[0].splitlines() if line.startswith("$ ")]
    assert {shlex.split(c)[1] for c in commands} == {"reproduce", "options", "run", "search", "table1", "ablate", "list"}
    said = {}
    for command in commands:
        assert presyn(command.removeprefix("presyn ")) == 0, command
        said[shlex.split(command)[1]] = capsys.readouterr()
    assert "your methods: brakes" in said["reproduce"].out and "your search spaces: brakes-mine" in said["reproduce"].out
    assert "wear=1 " in said["options"].out
    table = pd.read_csv("results/table1/table1.csv")
    assert set(table.method) == set(METHODS) | {"brakes"} and table.ours.notna().all()
    brakes = table[table.method == "brakes"]
    assert set(brakes.parameters) == {"default", "searched"} and brakes.ours.min() > 40
    assert "without sgd on mine, tuned once: it was not searched on mine" in said["table1"].err
    assert set(pd.read_csv("results/ablations-brakes-mine/searched/runs.csv").ablation) == {"full", "wear=0"}
    trials = pd.read_csv("results/ablations-brakes-mine/searched/search/brakes-mine-full-mine/runs.csv")
    assert len(trials) == 6 and {json.loads(c)["validation"] for c in trials.config} == {300}
    assert "brakes" not in METHODS and "mine" not in BENCHMARKS, "what a command loads is gone after it"


def test_an_experiment_of_ones_own_takes_seeds_and_is_listed(folder, here, capsys):
    Path("wear.py").write_text(WEAR, encoding="utf-8")
    Path(FILE).write_text('modules = ["wear.py", "brakes.py"]\n', encoding="utf-8")
    assert presyn("reproduce --list") == 0
    listed = capsys.readouterr().out
    assert re.search(r"^wear +Accuracy against wear.$", listed, re.M) and "your benchmarks: short" in listed
    assert presyn("reproduce wear --seeds 1 2 3") == 0
    assert set(pd.read_csv("results/wear/runs.csv").seed) == {1, 2, 3}
    assert r"\begin{tabular}" in Path("results/wear/table.tex").read_text(encoding="utf-8")
    assert presyn("reproduce wear --digits") == 1 and "--digits does not go with wear" in capsys.readouterr().err
    assert presyn("list --method brakes --benchmark short --csv") == 0
    assert len(capsys.readouterr().out.splitlines()) == 7


def repeated(run_id, capsys):
    """The id that the command of `presyn show` gives."""
    capsys.readouterr()
    assert presyn(f"show {run_id}") == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert command.startswith("presyn run ") and command.endswith(" --fresh")
    assert presyn(command.removeprefix("presyn ").removesuffix(" --fresh") + " --json") == 0
    said = capsys.readouterr()
    assert "1 read from the store, 0 trained" in said.err, command
    return json.loads(said.out)["runs"][0]["run_id"]


def test_a_run_of_ones_own_rule_and_images_is_repeated_by_the_command_that_show_prints(folder, here, capsys):
    rng = np.random.default_rng(0)
    y = np.arange(140) % 4
    x = (rng.random((4, 5, 5))[y] + 0.1 * rng.random((140, 5, 5))).astype(np.float32)
    Path("pairs").mkdir()
    for name, array in {"train_x": x[:120], "train_y": y[:120], "test_x": x[120:], "test_y": y[120:]}.items():
        np.save(f"pairs/{name}.npy", array)
    text = "source: pairs\nkind: single\ntasks: 1\nepochs: 2\nbatch_size: 10\nhidden: [16]\nparts: task\n"
    Path("007.yaml").write_text(text, encoding="utf-8")  # a name that YAML takes for a number
    assert presyn("run --module brakes.py --method brakes --benchmark 007.yaml --set eta0=0.1 wear=0.5 --json") == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert run["benchmark"] == "007" and run["provenance"]["source"] == str(Path("pairs").absolute())
    assert repeated(run["run_id"], capsys) == run["run_id"]
    assert presyn("list") == 0 and presyn("list --method brakes") == 0, "without the file of its method"
    Path(FILE).write_text('modules = ["brakes.py"]\nbenchmarks = ["007.yaml"]\n', encoding="utf-8")
    assert repeated(run["run_id"], capsys) == run["run_id"]


def test_parameters_are_chosen_on_a_sixth_of_ones_own_images_or_on_what_the_benchmark_says(folder, here):
    rng = np.random.default_rng(0)
    y = np.arange(1400) % 4
    x = np.clip(rng.integers(0, 200, (4, 5, 5))[y] + rng.integers(0, 40, (1400, 5, 5)), 0, 255).astype(np.uint8)
    np.savez("mine.npz", train_x=x[:1200], train_y=y[:1200], test_x=x[1200:], test_y=y[1200:])
    text = "source: mine.npz\nkind: permuted\ntasks: 2\nepochs: 1\nbatch_size: 20\nhidden: [16]\n"
    for name, validation in (("sixth", ""), ("own", "validation: 90\n")):
        Path(f"{name}.yaml").write_text(text + validation, encoding="utf-8")
    ablate = "ablate --off no-freezing --benchmarks sixth.yaml own.yaml --seeds 1 --trials 1 --results out"
    assert presyn(ablate) == 0
    for name, held_out in (("sixth", 200), ("own", 90)):
        trials = pd.read_csv(f"out/ablations-presynaptic/searched/search/presynaptic-full-{name}/runs.csv")
        assert [json.loads(c)["validation"] for c in trials.config] == [held_out]
    rows = pd.read_csv("out/ablations-presynaptic/searched/runs.csv")
    assert {json.loads(c)["validation"] for c in rows.config} == {0}, "what is reported is tested on the test set"
    assert presyn("table1 --benchmarks own.yaml --seeds 1 --results out") == 0, "without a search on MNIST"
    table = pd.read_csv("out/table1/runs.csv")
    assert set(table.method) == set(METHODS) and {json.loads(c)["validation"] for c in table.config} == {0}


@pytest.mark.parametrize(
    ("files", "words", "says"),
    [
        ({}, "--module nowhere.py", "--module nowhere.py is not there"),
        ({"x.py": "import nothing_at_all"}, "--module x.py", "--module x.py cannot be imported (No module named"),
        ({"x.py": "1 +"}, "--module x.py", "x.py cannot be imported (invalid syntax (x.py, line 1))"),
        ({"x.py": "\n\nraise ValueError('why')"}, "--module x.py", "cannot be imported (ValueError: why, x.py line 3)"),
        ({"x.py": "from presyn import METHODS as M\nM['sgd'] = M['bgd']"}, "--module x.py", "there is a method sgd already"),
        ({"x.py": "from presyn import METHODS as M\nM['a'] = 3"}, "--module x.py", "METHODS['a'] must be a subclass of Method"),
        ({"x.py": BARE}, "--module x.py", "--module x.py: Bare needs Options, a frozen dataclass"),
        ({"x.py": UNSAID}, "--module x.py", "--module x.py: wear of UnsaidOptions must be an option: wear: float = option(1.0"),
        ({"x.py": TASKS.format(name="split-digits")}, "--module x.py", "there is a benchmark split-digits already"),
        ({"x.py": TASKS.format(name="tiny")}, "--module x.py", "there is a benchmark tiny already"),
        ({"presyn.toml": "module = ['x.py']"}, "", "presyn.toml: Unknown key 'module'. Did you mean modules?"),
        ({"presyn.toml": "modules = 'x.py'"}, "", 'modules must be a list of files, such as modules = ["mine.py"]'),
        ({"presyn.toml": "modules = ["}, "", "presyn.toml is not TOML"),
        ({"presyn.toml": "spaces = ['nowhere.yaml']"}, "", "nowhere.yaml cannot be read: No such file"),
        ({"presyn.toml": "spaces = ['x.py']"}, "", "spaces must be YAML files, not 'x.py'"),
    ],
)
def test_bad_files_are_named(home, capsys, files, words, says):
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    before = dict(METHODS)
    assert presyn(f"list {words}") == 1 and says in capsys.readouterr().err
    assert before == METHODS


def test_a_benchmark_in_a_python_file_and_one_in_yaml_are_found_by_name_and_repeated(folder, here, capsys):
    Path("tasks.py").write_text(TASKS.partition("B =")[0].format(name="tiny"), encoding="utf-8")
    Path("fast.yaml").write_text("dataset: digits\nkind: split\ntasks: 2\nepochs: 1\nhidden: [16]\n", encoding="utf-8")
    Path("mine_here.py").write_text(WEAR.replace("SHORT, s", '"fast", s'), encoding="utf-8")
    assert presyn("reproduce wear --module fast.yaml --module mine_here.py --dry-run") == 0
    assert "on fast" in capsys.readouterr().err
    assert presyn("run --module tasks.py --method sgd --benchmark tiny --seeds 1 --json") == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]["run_id"]
    Path(FILE).write_text('modules = ["tasks.py"]\nbenchmarks = ["fast.yaml"]\n', encoding="utf-8")
    assert repeated(run, capsys) == run
    assert presyn("run --method sgd --benchmark fast.yaml --seeds 1 --dry-run") == 0, "by its path as well"


def test_a_state_that_other_code_trained_is_not_shown_with_this_code(folder, here, capsys):
    run = "run --module brakes.py --method brakes --benchmark split-digits --set epochs=1 keep=true --json"
    assert presyn(run) == 0
    run_id = json.loads(capsys.readouterr().out)["runs"][0]["run_id"]
    with user_code(["brakes.py"]):
        assert trained(run_id)(load("digits").test_x).shape == (360, 2)
    Path("brakes.py").write_text(
        Path("brakes.py").read_text(encoding="utf-8").replace("1 + self", "2 + self"), encoding="utf-8"
    )
    with user_code(["brakes.py"]), pytest.raises(PresynError, match="trained with other code of brakes"):
        trained(run_id)


def test_a_file_that_is_called_like_a_module_of_pythons_is_that_file(folder, capsys):
    Path("random.py").write_text(Path("brakes.py").read_text(encoding="utf-8"), encoding="utf-8")
    assert presyn("options brakes --module random.py") == 0 and "wear=1 " in capsys.readouterr().out
    import random

    assert random.random and "brakes" not in METHODS


def test_an_edited_rule_is_another_rule_in_the_same_process(folder, here, capsys):
    run = "run --module brakes.py --method brakes --benchmark mine.yaml --json"
    ids = set()
    for wear in ("1 + self.h.wear", "2 + self.h.wear"):
        text = Path("brakes.py").read_text(encoding="utf-8").replace("1 + self.h.wear", wear)
        Path("brakes.py").write_text(text, encoding="utf-8")
        assert presyn(run) == 0
        ids.add(json.loads(capsys.readouterr().out)["runs"][0]["run_id"])
    assert len(ids) == 2


def test_a_package_brings_methods_by_its_entry_point(folder, monkeypatch):
    import importlib.metadata

    entry = importlib.metadata.EntryPoint("brakes", "brakes", "presyn")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry] if group == "presyn" else [])
    monkeypatch.syspath_prepend(str(folder))
    with user_code() as code:
        assert "brakes" in METHODS and list(code.methods) == ["brakes"]
    assert "brakes" not in METHODS
