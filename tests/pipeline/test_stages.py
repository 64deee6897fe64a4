"""Stages: asked, trained and made by one function, whatever they are; and the faults that six copies of it had."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pipeline.perform
import pipeline.plan
from pipeline.cli import main
from pipeline.perform import perform
from pipeline.plan import Plan
from pipeline.records.csvs import import_rows, read_file
from pipeline.records.files import lock_folder
from pipeline.records.mlflow.notes import read_notes
from pipeline.records.store import Store
from pipeline.stage import Known, Made, Stage, Wish
from pipeline.train import train
from pipeline.workspace import Workspace
from presyn import BENCHMARKS, METHODS, PresynError, make_run, make_schedule
from presyn.datasets import load
from sweeps.cluster import Cluster

TINY = {"epochs": 1, "tasks": 2, "hidden": [16]}
PAGE = Path(__file__).parents[2] / "docs" / "adding_an_experiment.md"
OWN = "dataset: digits\nkind: split\ntasks: 2\nepochs: 1\nhidden: [16]\nbatch_size: 20\n"
SPACE = (
    "method: presynaptic\nbenchmark: permuted-digits\ntrials: 2\nfixed: {validation: 300, epochs: 1, tasks: 2, hidden: [16]}\n"
    "search: {eta0: {choices: [0.05, 0.1]}, p_up: {low: 0.01, high: 0.1}}\n"
)


LEARNING = """
from pipeline.stage import Made, Stage

class Learning(Stage):
    name, title = "learning", "learning"

    def ask(self, known):
        return []

    def make(self, frame, known):
        return Made()
"""


def presyn(words):
    return main(words.split())


@pytest.fixture
def at(home):
    return Workspace.open(Path("out"))


def test_a_benchmark_of_ones_own_has_its_table(home, here):
    Path("my.yaml").write_text(OWN)
    Path("space.yaml").write_text(SPACE)
    assert presyn("table1 --space space.yaml --benchmarks my.yaml --seeds 1 2 --results out") == 0
    table = pd.read_csv("out/table1/table1.csv")
    assert set(table.benchmark) == {"my"} and {"presynaptic", "joint"} <= set(table.method)
    assert table.ours.notna().all() and "my" in Path("out/table1/table1.md").read_text()


def test_the_same_command_counts_no_run_twice(home, here):
    Path("my.yaml").write_text(OWN)
    words = "ablate --off eta0=0.05 --benchmarks my.yaml --seeds 1 2 --trials 1 --results out"
    assert presyn(words) == 0
    folder = Path("out/ablations-presynaptic/searched")
    first, table = (folder / "runs.csv").read_text(), (folder / "table.csv").read_text()
    assert presyn(f"{words} --reuse-parameters") == 0
    assert (folder / "runs.csv").read_text() == first and (folder / "table.csv").read_text() == table
    assert len(pd.read_csv(folder / "runs.csv")) == 4


def test_two_files_of_one_name_are_refused(home, capsys):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "my.yaml").write_text(OWN.replace("tasks: 2", f"tasks: {2 + (folder == 'b')}"))
    assert presyn("ablate --off eta0=0.05 --benchmarks a/my.yaml b/my.yaml --dry-run") == 1
    assert "Two benchmarks are called my: give one of them another name" in capsys.readouterr().err


def test_a_file_that_holds_a_run_twice_is_refused(home, capsys):
    results = Path(__file__).parents[2] / "results"
    rows = pd.read_csv(results / "table1" / "runs.csv")
    Path("results/table1").mkdir(parents=True)
    pd.concat([rows, rows.head(1)]).to_csv("results/table1/runs.csv", index=False)
    assert presyn("verify") == 1
    assert "runs.csv holds a run twice: method presynaptic" in capsys.readouterr().err


def test_rows_carry_every_series_and_come_back_with_them(at):
    run = make_run("presynaptic", "digits", 1, {"epochs": 3, "hidden": [16], "l2": 0.01})

    class One(Learning):
        def ask(self, known):
            return [] if known.rows else [Wish(run, {"model": "plastic"})]

    made = perform([One()], at, here=True)["learning"]
    row = made.value[0]
    assert [len(row.record.figures[n]) for n in ("energy", "information", "mean_p")] == [3, 3, 3] and len(row.record.loss) == 3
    (back,) = read_file(Path("out/learning/runs.csv")).rows
    assert back.record.figures["energy"] == pytest.approx(row.record.figures["energy"], rel=1e-5)
    assert back.record.loss == pytest.approx(row.record.loss, rel=1e-5) and back.mean_accuracy == row.mean_accuracy
    other = Store(Path("other"))
    assert import_rows([Path("out/learning/runs.csv")], other) == (1, 0, [])
    assert other.get(row.run_id).line({}) == row.line({})


def test_counting_a_runs_steps_builds_no_network(at, monkeypatch):
    monkeypatch.setattr(pipeline.plan, "make_cohort", None)
    plan = Plan(at.store, Cluster())
    run = make_run("presynaptic", "permuted-digits", 1)
    assert plan.steps(run) == 5 * 10 * (1437 // 20) and plan.schedule(run).images_tested() == (1 + 2 + 3 + 4 + 5) * 360
    joint = make_schedule(make_run("joint", "permuted-digits", 1), load("digits"))
    assert (joint.segments, joint.steps(0)) == (10, 5 * 1437 // 20)
    single = make_schedule(make_run("sgd", "digits", 1, {"epochs": 7}), load("digits"))
    assert (single.segments, list(single.epochs(3)), single.tested_tasks(5), single.tested_tasks(6)) == (7, [3], (), range(1))


class Learning(Stage):
    """Some runs, and the rows as its value."""

    name, title, columns = "learning", "learning", ("seed",)

    def ask(self, known):
        if known.rows:
            return []
        return [Wish(make_run("sgd", "split-digits", seed, TINY)) for seed in (1, 2)]

    def make(self, frame, known):
        return Made([row for _, row in known.rows], {"means.csv": frame[["seed", "mean_accuracy"]]}, "means.csv")


class Measured(Learning):
    """The same runs, with their energy."""

    name = title = "measured"

    def ask(self, known):
        wanted = {**TINY, "measures": ["energy"]}
        return [] if known.rows else [Wish(make_run("sgd", "split-digits", seed, wanted)) for seed in (1, 2)]


class Halving(Stage):
    """An adaptive one: it goes on halving eta0 around what did best."""

    name, title, columns = "halving", "halving", ("eta0",)

    def ask(self, known):
        tried = {labels["eta0"]: row.mean_accuracy for labels, row in known.rows}
        etas = [0.1, 0.4] if not tried else [min(tried) / 2] if len(tried) < 4 else []
        return [Wish(make_run("sgd", "split-digits", 1, {**TINY, "eta0": eta}), {"eta0": eta}) for eta in etas]

    def make(self, frame, known):
        return Made(frame.loc[frame.mean_accuracy.idxmax(), "eta0"])


class Follower(Stage):
    """One that carries over what another found."""

    name, title, columns = "follower", "follower", ("seed",)
    needs = (Halving(),)

    def ask(self, known):
        eta = known.values["halving"]
        return [] if known.rows or eta is None else [Wish(make_run("sgd", "split-digits", 9, {**TINY, "eta0": eta}))]

    def make(self, frame, known):
        return Made(known.values["halving"])


def test_a_stage_that_asks_again_is_asked_until_it_is_done(at, client):
    made = perform([Follower()], at, here=True)
    frame = pd.read_csv("out/halving/runs.csv")
    assert frame.eta0.tolist() == [0.1, 0.4, 0.05, 0.025]
    assert made["follower"].value == made["halving"].value in frame.eta0.tolist()
    assert len(client.search_runs([client.get_experiment_by_name("halving").experiment_id])) == 5, "four runs and their parent"
    assert len(at.store.ids()) == 5
    again = perform([Follower()], at, here=True)  # everything is read, and nothing trained
    assert len(client.search_runs([client.get_experiment_by_name("halving").experiment_id])) == 5, "and none is doubled"
    assert again["halving"].value == made["halving"].value and len(at.store.ids()) == 5


def test_a_stage_that_is_stopped_between_two_askings_has_its_runs_once_in_mlflow(at, client, monkeypatch):
    calls = []

    def stopped(*arguments):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return train(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.perform, "train", stopped)
        with pytest.raises(KeyboardInterrupt):
            perform([Halving()], at, here=True)
    perform([Halving()], at, here=True)
    runs = client.search_runs([client.get_experiment_by_name("halving").experiment_id])
    assert len(runs) == 5 and {run.info.status for run in runs} == {"FINISHED"}


def test_a_stage_that_is_done_does_not_wait_for_others(at):
    seen = []

    class Watching(Halving):
        def ask(self, known):
            if len(known.rows) == 3:
                seen.append(Path("out/learning/means.csv").exists())
            return super().ask(known)

    perform([Learning(), Watching()], at, here=True)
    assert seen and all(seen)


def test_a_stage_that_never_ends_is_named(at):
    class Forever(Learning):
        def ask(self, known):
            return [Wish(make_run("sgd", "split-digits", 1, TINY))]

    with pytest.raises(PresynError, match="The stage learning asks again for runs that it has"):
        perform([Forever()], at, here=True)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"columns": ("method",)}, "do not tell its runs apart: two have method sgd. Add the label in which they differ"),
        ({"columns": ("eta0", "seed")}, "columns of the stage learning names 'eta0', but run"),
        ({"columns": "seed"}, "columns of the stage learning must be names, such as"),
        ({"ask": lambda self, known: None}, "`ask` of the stage learning must return a list of Wish, not None"),
        ({"ask": lambda self, known: [make_run("sgd", "split-digits", 1)]}, "must return a list of Wish, not"),
        ({"ask": lambda self, known: [Wish(make_run("sgd", "split-digits", 1), {"penalty": 1})]}, "calls a label 'penalty'"),
    ],
    ids=["columns repeat", "no such label", "a word", "nothing", "runs", "a figure"],
)
def test_a_stage_that_cannot_come_out_is_refused_before_anything_is_trained(at, attributes, says):
    stage = type("Odd", (Learning,), attributes)()
    for dry_run in (True, False):
        with pytest.raises(PresynError, match=re.escape(says)):
            perform([stage], at, here=True, dry_run=dry_run)
    assert not at.store.ids()


def test_a_label_that_is_true_or_false_stays_so(at):
    class Fast(Learning):
        columns = ("fast",)

        def ask(self, known):
            runs = [(fast, make_run("sgd", "split-digits", 1 + fast, TINY)) for fast in (True, False)]
            return [] if known.rows else [Wish(run, {"fast": fast}) for fast, run in runs]

        def make(self, frame, known):
            return Made(frame[frame.fast].seed.tolist())

    for _ in range(2):  # of a new file, and of one that is there
        assert perform([Fast()], at, here=True)["learning"].value == [2]


def test_a_figure_that_is_called_like_something_of_rows_is_refused_before_training(at, monkeypatch):
    for name in ("loss", "seed", "energy", "ablation"):
        described = type(
            "Described", (METHODS["sgd"],), {"describe": lambda self, state, name=name: {name: state["weights"][:, 0]}}
        )
        described.__module__ = __name__
        monkeypatch.setitem(METHODS, "described", described)

        class Own(Learning):
            def ask(self, known):
                return [] if known.rows else [Wish(make_run("described", "split-digits", 1, TINY))]

        with pytest.raises(PresynError, match=f"describe of Described calls a figure '{name}', a name that rows use already"):
            perform([Own()], at, here=True)
    assert not at.store.ids()


def test_two_experiments_of_one_name_in_one_file_are_refused(home, capsys):
    Path("twice.py").write_text(f"{LEARNING}\nA, B = Learning(), Learning()\n")
    assert presyn("reproduce --module twice.py --list") == 1
    assert "twice has two experiments called learning: rename one of them" in capsys.readouterr().err
    Path("bare.py").write_text(f"{LEARNING}\nLearning.title = None\nA = Learning()\n")
    assert presyn("reproduce --module bare.py --list") == 1
    assert 'the experiment A needs a title, such as title = "mine"' in capsys.readouterr().err


def test_stages_that_want_the_same_run_train_it_once_with_the_measurements_of_both(at, capsys):
    perform([Learning(), Measured()], at, here=True)
    assert "2 stages: 2 runs, 0 in the store, 2 to train" in capsys.readouterr().err
    assert all("energy" in at.store.get(i).record.figures for i in at.store.ids()) and len(at.store.ids()) == 2


def test_a_row_that_lacks_a_measurement_is_trained_again_and_keeps_what_it_had(at):
    def row(*measures):
        class Wanting(Learning):
            def ask(self, known):
                settings = {"epochs": 2, "hidden": [16], "measures": list(measures)}
                return [] if known.rows else [Wish(make_run("presynaptic", "digits", 1, settings))]

        return perform([Wanting()], at, here=True)["learning"].value[0]

    first, second = row("energy"), row("synapses")
    assert first.run_id == second.run_id and {"energy", "histogram_p"} <= second.record.figures.keys()
    assert second.record.figures["energy"] == first.record.figures["energy"]
    assert row().record.ended == second.record.ended, "one that has more is left as it is"


def test_a_final_state_is_kept_where_a_run_is_asked_to(at):
    import torch

    run = make_run("sgd", "split-digits", 1, {**TINY, "keep": True})
    assert run.run_id("x") == make_run("sgd", "split-digits", 1, TINY).run_id("x")

    class Keeping(Learning):
        def ask(self, known):
            return [] if known.rows else [Wish(run)]

    row = perform([Keeping()], at, here=True)["learning"].value[0]
    state = torch.load(at.store.root / "states" / f"{row.run_id}.pt", weights_only=True)
    assert state["weights"].shape == (64 * 16 + 16 * 2,)


def test_a_dry_run_and_so_far_train_nothing(at):
    assert perform([Learning()], at, dry_run=True) == {} and not at.store.ids() and not Path("out").exists()
    with pytest.raises(PresynError, match="None of the runs of learning is in the store"):
        perform([Learning()], at, so_far=True)
    assert presyn("run --method sgd --benchmark split-digits --seeds 2 --set epochs=1 tasks=2 hidden=16") == 0
    assert len(perform([Learning()], at, so_far=True)["learning"].value) == 1


def test_so_far_makes_a_stage_of_its_rows_whatever_another_wants_measured_of_them(at):
    """As Table 1 beside the curves of its runs, which need energies that Table 1 does not ask for."""
    perform([Learning()], at, here=True)
    made = perform([Learning(), Measured()], at, here=True, so_far=True)
    assert len(made["learning"].value) == 2 and "measured" not in made


def test_so_far_makes_a_stage_that_needs_one_without_a_value(at):
    class Valueless(Learning):
        def make(self, frame, known):
            return Made()

    class After(Stage):
        name = title = "after"
        columns = ("seed",)
        needs = (Valueless(),)

        def ask(self, known):
            return []

        def make(self, frame, known):
            return Made("made")

    with pytest.raises(PresynError, match="None of the runs of after is in the store"):
        perform([After()], at, so_far=True)
    assert perform([After()], at, here=True)["after"].value == "made"
    assert perform([After()], at, so_far=True)["after"].value == "made"


def test_a_stage_in_a_folder_of_a_folder_keeps_its_note(at):
    class Inside(Learning):
        name = title = "mine/first"

    perform([Inside()], at, here=True)
    (note,) = read_notes(at.store)
    assert note.experiment == "mine/first" and len(note.run_ids) == 2


def test_a_command_that_writes_no_results_does_not_wait_for_one_that_does(home, here):
    words = ["run", "--method", "sgd", "--benchmark", "split-digits", "--set", "epochs=1", "tasks=1", "hidden=[8]"]
    with lock_folder(Path("results")):
        assert main(words) == 0
        assert main([*words, "--rows", "results/mine.csv"]) == 1, "which is in that folder"
    assert not any(Path("results").iterdir())


def test_the_experiment_of_the_page_works_as_it_stands_there(home, here, client, capsys, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    Path("sensitivity.py").write_text(code)
    monkeypatch.syspath_prepend(str(home))
    command = "reproduce --module sensitivity sensitivity"
    try:
        assert presyn(f"{command} --dry-run") == 0 and "6 to train" in capsys.readouterr().err
        assert presyn(command) == 0
        for words in (command, "reproduce --module sensitivity"):  # with its name or without
            assert presyn(f"{words} --seeds 1 2 --dry-run") == 0 and not Path("my-results").exists()
    finally:
        sys.modules.pop("sensitivity", None)
    table = pd.read_csv("results/sensitivity/table.csv")
    assert table.eta0.tolist() == [0.01, 0.02, 0.05] and "sensitivity" in capsys.readouterr().out
    assert table["mean"].notna().all(), "a reader's first experiment diverges"
    assert Path("results/sensitivity/curve.png").read_bytes()[:4] == b"\x89PNG"
    assert client.get_experiment_by_name("sensitivity") is not None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("reproduce tabel1", "Unknown experiment 'tabel1'. Did you mean table1?"),
        ("reproduce searches --seeds 1", "--seeds does not go with searches"),
        ("reproduce --module nowhere.at_all x", "--module nowhere.at_all cannot be imported"),
        ("reproduce --module json x", "--module json holds no stage"),
    ],
)
def test_bad_input_is_named(home, capsys, words, says):
    assert presyn(words) == 1 and says in capsys.readouterr().err


def test_experiments_are_listed(capsys):
    assert presyn("reproduce --list") == 0
    assert {"table1", "ablations", "departures", "verdicts"} <= {
        line.split()[0] for line in capsys.readouterr().out.splitlines()
    }


def test_an_option_added_later_leaves_all_ids_as_they_are(monkeypatch):
    from presyn import METHODS
    from presyn.options import option

    before = make_run("presynaptic", "permuted-mnist", 2019)

    @dataclasses.dataclass(frozen=True)
    class Longer(METHODS["presynaptic"].Options):
        sleep: float = option(0.0, "added later", varies=True, neutral=0.0)

    monkeypatch.setattr(METHODS["presynaptic"], "Options", Longer)
    after = make_run("presynaptic", "permuted-mnist", 2019)
    assert after.run_id("data") == before.run_id("data") and after.config() == before.config()
    assert make_run("presynaptic", "permuted-mnist", 2019, {"sleep": 0.5}).run_id("data") != before.run_id("data")


def test_data_of_ones_own_by_a_yaml(home, here):
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    x = np.clip(rng.integers(0, 200, (4, 5, 5))[y] + rng.integers(0, 40, (400, 5, 5)), 0, 255).astype(np.uint8)
    Path("data").mkdir()
    np.savez("data/mine.npz", train_x=x[:300], train_y=y[:300], test_x=x[300:], test_y=y[300:])
    Path("own.yaml").write_text("source: data/mine.npz\nkind: split\ntasks: 2\nepochs: 3\nbatch_size: 10\nhidden: [16]\n")
    assert presyn("run --method sgd --benchmark own.yaml --seeds 1 2 --set eta0=0.1 --rows rows.csv") == 0
    rows = pd.read_csv("rows.csv")
    config = json.loads(rows.config[0])
    assert (rows.mean_accuracy > 0.6).all() and config["dataset"] == "mine" and "source" not in config
    Path("data").rename("moved")
    Path("own.yaml").write_text(Path("own.yaml").read_text().replace("data/", "moved/"))
    assert presyn("run --method sgd --benchmark own.yaml --seeds 1 2 --set eta0=0.1 --rows rows.csv") == 0
    assert pd.read_csv("rows.csv").run_id.tolist() == rows.run_id.tolist(), "the place of the files is not part of a run"


def test_known_is_plain(at):
    assert Known().rows == () and BENCHMARKS["digits"].parts == "epoch"
