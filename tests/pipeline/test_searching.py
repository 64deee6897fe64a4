"""Searches that learn from their results: the same trials, in the same order, with the same values, whatever happens."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from pipeline.cli import main
from pipeline.experiments.samplers.stage import samplers
from pipeline.experiments.search.stage import search
from pipeline.perform import perform
from pipeline.records.csvs import import_rows
from pipeline.records.results import Results
from pipeline.records.store import Store
from pipeline.workspace import Workspace
from presyn import PresynError
from sweeps.samplers import draw_round
from sweeps.space import read_space
from sweeps.trials import Outcome, trial_number

SPACE = """
method: presynaptic
benchmark: permuted-digits
sampler: tpe
trials: 10
batch: 4
sampler_seed: 1
halving: {after: [1, 2], keep: 0.5}
fixed: {validation: 300, epochs: 1, tasks: 3, hidden: [16], samples: 2, tests: new, drop_below: 0.12}
search:
  p_up: {low: 0.01, high: 0.1}
  g_lim: {low: 1.0e-4, high: 1.0e-2, log: true}
  eta0: {choices: [0.05, 0.1]}
"""


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures take longer than these searches; other tests draw them."""
    for name in ("parallel_coordinates", "draw_progress"):
        monkeypatch.setattr(f"pipeline.experiments.search.stage.{name}", lambda *_: b"")


@pytest.fixture
def space(home):
    Path("space.yaml").write_text(SPACE)
    return read_space("space.yaml")


def at(name):
    """A workspace of its own under the home."""
    return Workspace.open(
        Path(name) / "out", store=str(Path(name) / "store"), mlflow=f"sqlite:///{Path('.presyn/mlflow.db').absolute()}"
    )


def carry_out(space, workspace, **how):
    """The table of trials and the lines of all runs, without times."""
    perform([search(space, workspace.store.manifests)], workspace, here=True, **how)
    return results(workspace, space)


def results(workspace, space):
    folder = workspace.results / "search" / space.name
    runs = pd.read_csv(folder / "runs.csv")
    series = runs.series.map(lambda s: {k: v for k, v in json.loads(s).items() if k not in ("seconds", "ended")})
    kept = ["trial", "tasks", "run_id", "status", "mean_accuracy", "forgetting", "accuracy"]
    return (folder / "trials.csv").read_text(), runs[[k for k in kept if k in runs]].to_csv(), series.to_list()


def test_tpe_with_halving_is_the_same_alone_after_an_import_and_without_going_on(space, monkeypatch, capsys):
    first = at("first")
    whole = carry_out(space, first)
    said = capsys.readouterr().err
    assert "round 3 of 3, 10 of 10 trials" in said and "network steps saved by halving" in said
    table = pd.read_csv(first.results / "search" / "space" / "trials.csv")
    assert set(table["round"]) == {1, 2, 3} and {"finished", "halved"} <= set(table.status)
    assert not list(first.store.checkpoints.glob("*/*.pt")), "no state is left behind"
    # Rows that were imported left no state to go on from: the longer runs of other trials come out the same all the same.
    rows = first.results / "search" / "space" / "runs.csv"
    frame = rows.read_text().splitlines(keepends=True)
    Path("some.csv").write_text("".join(frame[:1] + frame[1::3]))
    second = at("second")
    assert import_rows([Path("some.csv")], second.store)[0] == len(frame[1::3])
    assert carry_out(space, second) == whole
    assert carry_out(space, first) == whole, "and when nothing is left to train"
    monkeypatch.setattr("pipeline.train.begin_longer_runs", lambda *_: None)
    assert carry_out(space, at("third")) == whole


class Killed(BaseException):
    """Ends a driver at some moment, as SIGKILL would: nothing is put in order."""


def test_after_kills_of_the_driver_at_random_moments_it_is_the_same(space, monkeypatch):
    whole = carry_out(space, at("whole"))
    rng, put = np.random.default_rng(1), Store.put
    kills = 0
    killed = at("killed")
    for moment in [int(n) for n in rng.integers(1, 6, 4)]:
        left = [moment]

        def put_or_die(self, *arguments, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return put(self, *arguments)

        monkeypatch.setattr(Store, "put", put_or_die)
        with pytest.raises(Killed):
            carry_out(space, killed)
        kills += 1
    monkeypatch.setattr(Store, "put", put)
    manifests = {p.name: p.read_text() for p in killed.store.manifests.iterdir()}
    assert kills == 4 and carry_out(space, killed) == whole
    after = {p.name: p.read_text() for p in killed.store.manifests.iterdir()}
    assert manifests.items() <= after.items(), "a round that was drawn is not drawn again"


def test_a_round_rests_on_its_results(space, capsys):
    first = at("first")
    carry_out(space, first)
    path = next(first.store.manifests.glob("*-round-2.json"))
    frozen = json.loads(path.read_text())
    path.write_text(json.dumps(frozen | {"rests_on": "0" * 64}))
    capsys.readouterr()
    carry_out(space, first)
    assert "rests on other results than there are; it is set aside" in capsys.readouterr().err
    assert json.loads(path.read_text()) == frozen


def test_a_plan_with_rounds_to_come_says_so_and_so_far_chooses_among_what_is_there(space, capsys, client):
    at_home = at("home")
    stage = search(space, at_home.store.manifests)
    assert perform([stage], at_home, here=True, dry_run=True) == {}
    said = " ".join(capsys.readouterr().err.split())
    assert "4 runs, 0 in the store, 4 to train" in said and "more runs, which depend on the results of these" in said
    assert "an estimate" in said and not at_home.store.ids()
    whole = carry_out(space, at_home)
    last_round = [row for row in map(at_home.store.get, at_home.store.ids()) if trial_number(row.config["seed"]) >= 8]
    for row in last_round:
        at_home.store.set_aside(row.run_id)
    so_far = [search(space, at_home.store.manifests)]
    with pytest.raises(PresynError, match="runs that this command would drop"):
        perform(so_far, at_home, here=True, so_far=True)
    made = perform(so_far, replace(at_home, results=Path("home/fewer")), here=True, so_far=True)
    assert made["search/space"].value.trial < 8
    assert len(pd.read_csv("home/fewer/search/space/runs.csv")) == len(whole[2]) - len(last_round)
    assert carry_out(space, at_home) == whole
    assert carry_out(space, at_home, fresh=True) == whole
    experiment = client.get_experiment_by_name("search")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert len(runs) == 1 + len(whole[2]) and parent.info.status == "FINISHED"
    history = client.get_metric_history(parent.info.run_id, "best_so_far")
    assert [m.step for m in history] == [1, 2, 3] and history[-1].value == parent.data.metrics["best_validation_accuracy"]
    assert parent.data.metrics["steps_saved"] > 0
    study = optuna.load_study(study_name="space", storage="sqlite:///home/store/optuna.db")
    assert {t.state.name for t in study.trials} >= {"COMPLETE", "PRUNED"} and study.trials[0].intermediate_values.keys() <= {
        1,
        2,
    }


def test_several_seeds_have_their_mean_and_a_trial_with_a_lost_one_is_lost(space):
    several = replace(space, seeds=2, halving=None, trials=8, batch=8, patience=None)
    several.fixed["drop_below"] = 0.0
    runs = carry_out(several, at("seeds"))
    table, lines = pd.read_csv("seeds/out/search/space/trials.csv"), pd.read_csv("seeds/out/search/space/runs.csv")
    assert len(runs[2]) == 16 and lines.seed.nunique() == 16
    means = lines.groupby("trial").mean_accuracy.mean()
    assert table.mean_accuracy.tolist() == pytest.approx(means.tolist(), rel=1e-12)
    made = perform([search(several)], at("seeds"), here=True)["search/space"]
    assert "by the 2 seeds of each trial" in made.message and made.metrics["expected_on_new_seeds"] <= made.value.value + 0.05


def test_two_objectives_have_a_front(home, here, capsys):
    text = (
        SPACE.replace("permuted-digits", "digits")
        .replace("halving: {after: [1, 2], keep: 0.5}\n", "")
        .replace("tasks: 3, ", "")
    )
    Path("two.yaml").write_text(text + "  l2: {low: 1.0e-4, high: 1.0e-1, log: true}\nobjectives: [mean_accuracy, energy]\n")
    assert read_space("two.yaml").directions == ("maximize", "minimize")
    assert main(["search", "--space", "two.yaml", "--results", "out"]) == 0
    table = pd.read_csv("out/search/two/trials.csv")
    front = table[table.front]
    assert 1 <= len(front) <= len(table) == 10 and Path("out/search/two/front.png").exists()
    for trial in table.itertuples():
        dominated = ((table.mean_accuracy >= trial.mean_accuracy) & (table.energy <= trial.energy)).sum() > 1
        assert trial.front is not dominated
    assert "are on the front of mean_accuracy and energy" in " ".join(capsys.readouterr().err.split())
    study = optuna.load_study(study_name="two", storage="sqlite:///.presyn/optuna.db")
    assert {t.number for t in study.best_trials} == set(front.trial) and study.metric_names == ["mean_accuracy", "energy"]


def test_two_objectives_with_trials_that_were_dropped_are_drawn_on_from(space):
    two = {"objectives": ("mean_accuracy", "forgetting"), "directions": ("maximize", "minimize")}
    several = replace(space, halving=None, trials=14, batch=12, **two)
    trials = draw_round(several, 0, [], [])
    outcomes = [Outcome("finished", (0.5, 0.1), {1: 0.5}), *(Outcome("dropped", intermediate={1: 0.1}) for _ in trials[1:])]
    assert len(draw_round(several, 1, trials, outcomes)) == 2


def test_a_search_whose_choices_are_neutral_values_is_the_same_search_again(home, here):
    text = SPACE.replace("halving: {after: [1, 2], keep: 0.5}\n", "").replace("sampler: tpe\ntrials: 10\nbatch: 4", "trials: 3")
    Path("neutral.yaml").write_text(text + "  l2: {choices: [0.0, 0.001]}\n  release: {choices: [none, 0.5]}\n")
    for _ in range(2):
        assert main(["search", "--space", "neutral.yaml", "--results", "out"]) == 0


@pytest.mark.parametrize("sampler", ["gp", "cmaes", "nsga2", "qmc"])
def test_every_sampler_draws_the_same_from_the_same_results(space, sampler):
    ranges = {k: d for k, d in space.search.items() if k != "eta0"}
    other = replace(space, sampler=sampler, search=ranges, trials=36, batch=12, halving=None)
    trials, outcomes = [], []
    for number in range(len(other.rounds)):
        drawn = draw_round(other, number, trials, outcomes)
        assert drawn == draw_round(other, number, trials, outcomes)
        assert len({str(t.params) for t in drawn}) > len(drawn) / 2
        trials += drawn
        outcomes += [
            Outcome("finished", (-abs(t.params["p_up"] - 0.05),)) if t.number % 5 else Outcome("diverged") for t in drawn
        ]
    assert [t.number for t in trials] == list(range(36))
    if other.learns:
        turned = [replace(o, values=tuple(-v for v in o.values)) for o in outcomes[12:24]]
        assert draw_round(other, 2, trials[:24], outcomes[:12] + turned) != trials[24:], "it looks at no result"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("sampler: tpe", "sampler: tp", "sampler must be one of random, grid, qmc, tpe, gp, cmaes, nsga2, not 'tp'"),
        ("sampler: tpe", "sampler: qmc", "batch does not go with sampler qmc"),
        ("batch: 4", "batch: 4\nrounds: 2", "batch and rounds do not go together"),
        ("batch: 4", "batch: 0", "batch must be from 1 to"),
        ("after: [1, 2]", "after: [1, 3]", "after under halving must be below the 3 tasks"),
        ("after: [1, 2]", "after: [2, 1]", "must be rising numbers of tasks"),
        ("keep: 0.5", "keep: 1.5", "keep under halving must be a share between 0 and 1"),
        ("keep: 0.5", "kept: 0.5", "Unknown key of halving 'kept'. Did you mean keep"),
        ("sampler: tpe", "sampler: nsga2", "halving does not go with sampler nsga2"),
        ("sampler: tpe", "sampler: cmaes", "sampler cmaes needs ranges under search, but eta0 has choices"),
        ("permuted-digits", "continuous-permuted-mnist", "halving needs tasks that end one after the other"),
        ("halving:", "objectives: [mean_accuracy, energy]\n#", "objective energy is not measured: put measures: \\[energy\\]"),
        ("batch: 4", "objectives: [mean_accuracy, forgetting]", "halving compares trials by one objective"),
        ("batch: 4", "objective: forgetting", "objective forgetting needs at least two tasks"),
        ("batch: 4", "objectives: [mean_accuracy]\ndirections: [up]", "directions must be maximize or minimize, not 'up'"),
        ("batch: 4", "objective: mean_accuracy\nobjectives: [forgetting]", "objective and objectives do not go together"),
        ("batch: 4", "seeds: 0", "seeds must be from 1 to 1000"),
        ("sampler: tpe\ntrials: 10\nbatch: 4", "patience: 2", "patience counts rounds, and sampler random has one"),
    ],
)
def test_what_does_not_go_together_is_named(home, old, new, says):
    assert old in SPACE
    Path("space.yaml").write_text(SPACE.replace(old, new, 1))
    with pytest.raises(PresynError, match=f"space.yaml: .*{says}"):
        read_space("space.yaml")


def test_patience_ends_a_search_and_is_said(space, capsys):
    patient = replace(space, trials=40, patience=1)
    carry_out(patient, at("patient"))
    said = " ".join(capsys.readouterr().err.split())
    assert "no better for 1 round, so it ends here" in said
    assert len(pd.read_csv("patient/out/search/space/trials.csv")) < 40


def test_samplers_side_by_side(space, home):
    small = replace(space, sampler="random", halving=None, trials=8, batch=4)
    stage = replace(samplers(small, None, (1,)), seeds=(1, 2))
    made = perform([*stage.needs, stage], at("side"), here=True)["samplers"]
    table = made.value.set_index("sampler")
    assert table.n.tolist() == [1] * 4 and table.work["random"] == 8.0
    assert table.work["tpe, halving"] == pytest.approx(2 * (4 + 2 + 1) / 3), "halving trains 4, 2 and 1 of a round"
    assert Path("side/out/figures/samplers.svg").exists()
    results = Results(Path("side/out"))
    again = stage.remake(results.rows("samplers"), results)
    pd.testing.assert_frame_equal(again.value, made.value)
    workspace = at("side")
    for row in map(workspace.store.get, workspace.store.ids()):
        if row.config["seed"] in (1, 2):  # of a winner on new seeds
            workspace.store.set_aside(row.run_id)
    workspace = replace(workspace, results=Path("side/so-far"))
    so_far = perform([*stage.needs, stage], workspace, here=True, so_far=True)["samplers"]
    assert so_far.value.work.tolist() == made.value.work.tolist() and so_far.value.new_seeds.isna().all()
