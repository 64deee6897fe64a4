"""The command line: one clear message for bad input, results that can be read by programs and by people."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import pipeline.perform
from pipeline import cli
from pipeline.plan import Plan, describe, measure_apart
from pipeline.records.store import Store
from pipeline.workspace import Workspace
from presyn import PresynError, make_run
from presyn.methods.presynaptic import Presynaptic
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster
from sweeps.user_code import user_code

RUN = ["run", "--method", "presynaptic", "--benchmark", "split-digits", "--set", "epochs=1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--method", "sgd", "--benchmark", "mnits"], "Unknown benchmark"),
        (["run", "--method", "sdg", "--benchmark", "mnist"], "Did you mean sgd?"),
        ([*RUN, "p_upp=0.1"], "Unknown field of presynaptic on split-digits 'p_upp'. Did you mean p_up?"),
        ([*RUN, "p_up=7"], "p_up must be between 0.0 and 1.0, not 7"),
        ([*RUN, "p_up"], "--set takes FIELD=VALUE"),
        ([*RUN, "p_up=[1"], "is not a value"),
        ([*RUN, "epochs=.inf"], "epochs must be a whole number"),
        ([*RUN, "rule=[a]"], "rule must be one of"),
        (["search", "--space", "grid.yaml", "--trials", "5"], "--trials is 5, but the grid of grid has 2 points"),
        (["search", "--space", "spaces/grid"], "spaces/grid is no search space: give the path of a .yaml file"),
        (["table1", "--digits", "--benchmarks", "split-mnist"], "--digits does not go with the benchmark split-mnist"),
        (["ablate", "--digits", "--benchmarks", "split-mnist"], "--digits does not go with the benchmark split-mnist"),
        (["search", "--digits", "--so-far", "--dry-run"], "--so-far trains nothing, so there is no plan of it"),
        (["search", "--digits", "--results", "file/x"], "file/x cannot be read or written"),
        (["search", "--digits", "--ray-address", "ray://h:1", "--trials", "1"], "(ray://) do not work"),
        ([*RUN, "validation=5000"], "validation must be below 1437"),
        ([*RUN, "batch_size=5000"], "batch_size 5000 is more than the"),
        ([*RUN, "validation=1"], "leaves nothing to test task 1 on"),
        (["search", "--digits", "--cohort", "0"], "--cohort must be at least 1"),
        (["search", "--digits", "--gpu-share", "0"], "--gpu-share must be above 0"),
        ([*RUN, "--device", "gpu7"], "device 'gpu7' is not usable here"),
        (["run", "--method", "sgd", "--benchmark", "mnist", "--data", "nowhere"], "train-images-idx3-ubyte"),
        (["search", "--space", "none.yaml"], "none.yaml cannot be read"),
        (["search", "--digits", "--trials", "0"], "--trials must be at least 1"),
        (["table1", "--digits", "--seeds", "1000001"], "are for searches"),
        (["table1", "--digits", "--benchmarks", "numbers"], "Unknown benchmark"),
        (["show", "0123"], "there is no run '0123'"),
        (["verify"], "runs.csv is missing. Make it with"),
        (["serach"], "Did you mean"),
        (["search", "--digts"], "Did you mean"),
        (["search", "--trials", "many"], "--trials"),
        (["search", "--cpus"], "--cpus"),
        (["run", "--method", "sgd", "--benchmark", "mnist", "--store", "file/store"], "cannot be written"),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_bad_input_is_one_message_and_exit_code_one(home, capsys, words, message):
    (home / "file").write_text("")
    (home / "grid.yaml").write_text(
        "method: sgd\nbenchmark: digits\nsampler: grid\nfixed: {validation: 300}\nsearch: {eta0: {choices: [0.1, 0.2]}}\n"
    )
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("presyn: ") and "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


def test_run_json_is_the_contract(home, capsys):
    assert cli.main([*RUN, "eta0=0.02", "--set", "samples=2", "--seeds", "1", "2", "--json"]) == 0
    out = capsys.readouterr().out
    runs = json.loads(out)["runs"]
    assert [r["seed"] for r in runs] == [1, 2]
    for r in runs:
        assert [[a is not None for a in row] for row in r["accuracy"]] == [[j <= i for j in range(5)] for i in range(5)]
        assert r["mean_accuracy"] == pytest.approx(sum(r["accuracy"][-1]) / 5)
        assert (home / ".presyn" / "results" / f"{r['run_id']}.json").exists()


def test_a_run_that_is_there_is_read_unless_fresh(home, capsys):
    def seconds(*more):
        assert cli.main([*RUN, "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)["runs"][0]

    first, again, fresh = seconds(), seconds(), seconds("--fresh")
    assert again["seconds"] == first["seconds"] != fresh["seconds"]
    assert fresh["accuracy"] == first["accuracy"]
    assert cli.main([*RUN, "--fresh", "--dry-run"]) == 0
    assert "0 in the store, 1 to train" in capsys.readouterr().err, "a plan says what would be trained"


@pytest.mark.parametrize("words", [["options"], ["list"]])
def test_output_that_nobody_reads_is_no_failure(home, words):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *words], stdout=writing, stderr=subprocess.PIPE, timeout=300
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_plan_counts_what_checkpoints_hold(home, monkeypatch, capsys):
    save, files = Checkpoints.save, []

    def save_twice(*arguments):
        if len(files) == 2:
            raise KeyboardInterrupt
        files.append(save(*arguments))

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_twice)
        assert cli.main(RUN) == 130
    assert cli.main([*RUN, "--dry-run"]) == 0 and "1 to train, 1 of them begun" in capsys.readouterr().err
    assert cli.main([*RUN, "--dry-run", "--fresh"]) == 0 and "begun" not in capsys.readouterr().err
    plan = Plan(Store(home / ".presyn"), Cluster())
    run = make_run("presynaptic", "split-digits", 2019, {"epochs": 1})
    run_id = plan.add(run)
    assert plan.steps_made() == {run_id: plan.schedule(run).first_step(2)} and 0 < plan.steps_made()[run_id] < plan.steps(run)


def test_checkpoints_that_a_stopped_command_left_go_with_the_next(home, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "remove", stop)
        assert cli.main(RUN) == 130
    checkpoints = home / ".presyn" / "checkpoints"
    assert list(checkpoints.rglob("*.pt"))
    assert cli.main(RUN) == 0 and not list(checkpoints.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table1", "--digits", "--so-far", "--fresh"], "--so-far trains nothing, and --fresh trains all of it again"),
        (["ablate", "--digits", "--departures", "--trials", "5"], "--trials is of a search, and there is none"),
        (["ablate", "--digits", "--published-parameters", "--trials", "5"], "--trials is of a search, and there is none"),
        (["reproduce", "lifelong", "--seeds", "1000001", "--results", "r"], "seeds from 1000000 on are for searches"),
    ],
)
def test_options_that_would_do_nothing_or_wrong_are_refused(home, capsys, words, message):
    assert cli.main(words) == 1 and message in capsys.readouterr().err


def test_a_fresh_run_that_is_stopped_goes_on_where_it_was(home, capsys, monkeypatch):
    words = [*RUN, "tasks=2", "--seeds", "1", "2"]
    assert cli.main(words) == 0
    assert cli.main([*words, "--fresh", "--device", "gpu7"]) == 1
    assert len(list((home / ".presyn" / "results").glob("*.json"))) == 2, "without the device nothing is set aside"
    began = []

    def stop(*args, **options):
        began.append(args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.perform, "train", stop)
        capsys.readouterr()
        assert cli.main([*words, "--fresh"]) == 130 and began
    again = capsys.readouterr().err.strip().split("go on with: ")[1]
    assert shlex.split(again) == ["presyn", *words], "with --fresh it would begin once more"
    results = home / ".presyn" / "results"
    assert not list(results.glob("*.json")) and len(list(results.glob("*.before"))) == 2
    assert cli.main(words) == 0 and len(list(results.glob("*.json"))) == 2


def test_rows_of_other_runs_are_not_written_over(home, capsys):
    words = [*RUN, "tasks=2", "--rows", "rows.csv", "--seeds"]
    assert cli.main([*words, "1", "2"]) == 0
    before = (home / "rows.csv").read_text()
    assert cli.main([*words, "3"]) == 1
    assert "rows.csv holds 2 runs that this command would drop" in capsys.readouterr().err
    assert (home / "rows.csv").read_text() == before
    assert cli.main([*words, "1", "2", "3"]) == 0


def test_a_head_node_without_the_device_plans_for_workers_that_have_it(tmp_path, monkeypatch):
    run = make_run("sgd", "split-digits", 1, {"epochs": 1})
    for address, measured in (("head:6379", True), (None, False)):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        plan = Plan(Store(tmp_path), Cluster(device="gpu7", ray_address=address))
        plan.add(run)
        if measured:
            assert plan.seconds(run) > 0
        else:
            with pytest.raises(PresynError, match="gpu7"):
                plan.seconds(run)


def test_a_method_that_raises_for_some_settings_is_measured_with_others(tmp_path, monkeypatch):
    start = Presynaptic.start

    def raise_above(method, *arguments):
        if float(method.h.p_up.max()) > limit:
            raise ZeroDivisionError("a bug at some parameters")
        return start(method, *arguments)

    monkeypatch.setattr(Presynaptic, "start", raise_above)
    plan, limit = Plan(Store(tmp_path), Cluster()), 0.06
    runs = [make_run("presynaptic", "split-digits", 1, {"epochs": 1, "p_up": p_up}) for p_up in (0.08, 0.05)]
    for run in runs:
        plan.add(run)
    assert plan.seconds(runs[0]) > 0
    limit, elsewhere = 0.01, Plan(Store(tmp_path / "elsewhere"), Cluster(), plan.runs)
    message = r"raises an error in its first steps: ZeroDivisionError: a bug at some parameters, test_cli.py line \d+$"
    with pytest.raises(PresynError, match=message):
        elsewhere.seconds(runs[0])


def test_the_plan_of_a_gpu_does_not_speak_of_cores(tmp_path, monkeypatch, capsys):
    plan = Plan(Store(tmp_path), Cluster())
    plan.add(make_run("sgd", "split-digits", 1))
    monkeypatch.setattr(plan, "seconds", lambda run: 20.0, raising=False)
    monkeypatch.setattr(plan, "device", lambda: torch.device("cuda"), raising=False)
    assert describe(plan, "title") == 20.0
    told = capsys.readouterr().err
    assert "at most 20 s on cuda" in told and "cores" not in told
    monkeypatch.setattr(plan, "device", lambda: torch.device("cpu"), raising=False)  # of a driver whose cluster has GPUs
    for slots, says in ((4, "the cluster trains on 4 GPUs, or shares of them"), (0, "the cluster has no node for it yet")):
        monkeypatch.setattr("pipeline.plan.cluster_slots", lambda _, slots=slots: (slots, "gpu"))
        describe(plan, "title")
        told = " ".join(capsys.readouterr().err.split())
        assert says in told and " cores" not in told


def test_show_gives_a_command_that_repeats_the_run(home, capsys):
    assert cli.main([*RUN, "p_freeze=0.91", "--set", "rule=printed", "--json"]) == 0
    run_id = json.loads(capsys.readouterr().out)["runs"][0]["run_id"]
    assert cli.main(["show", run_id[:6]]) == 0
    shown = capsys.readouterr()
    assert "data_sha256" in shown.out and "p_freeze: 0.91" in shown.out
    command = shlex.split(shown.out.strip().splitlines()[-1])
    assert command[:2] == ["presyn", "run"]
    assert cli.main([*command[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["run_id"] == run_id


def test_a_run_on_a_benchmark_of_ones_own_can_be_repeated_without_its_file(home, capsys):
    def accuracy(*words):
        assert cli.main([*words, "--json"]) == 0
        (run,) = json.loads(capsys.readouterr().out)["runs"]
        return run["accuracy"], run["run_id"]

    own = home / "mine.yaml"
    own.write_text("dataset: digits\nkind: permuted\ntasks: 2\nepochs: 1\nhidden: [16]\nbatch_size: 20\n")
    first, run_id = accuracy("run", "--method", "presynaptic", "--benchmark", "mine.yaml", "--set", "eta0=0.05")
    own.unlink()
    assert cli.main(["show", run_id]) == 0
    command = shlex.split(capsys.readouterr().out.strip().splitlines()[-1])
    assert accuracy(*command[1:])[0] == first


def test_a_diverging_run_has_its_own_exit_code_and_keeps_the_others(home, capsys):
    words = ["run", "--method", "sgd", "--benchmark", "split-digits", "--set", "eta0=1000", "epochs=1", "--json"]
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert "NaN" not in captured.out and json.loads(captured.out)["runs"][0]["status"] == "diverged"
    assert "diverged" in captured.err


def test_a_dry_run_trains_nothing(home, capsys):
    assert cli.main(["table1", "--digits", "--dry-run"]) == 0
    plan = capsys.readouterr().err
    assert "12 to train" in plan and "42 runs" in plan and "measured on this machine" in plan
    assert not list((home / ".presyn" / "results").glob("*.json"))


def test_every_command_explains_itself(capsys):
    for command in cli.COMMANDS:
        assert cli.main([command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert f"Usage: presyn {command}" in shown
        options = re.findall(r"^│.*(--[a-z0-9-]+)", shown, re.M)
        assert options or "Arguments" in shown
        assert all(re.search(rf"{option}\b.*\w", shown) for option in options)


def test_relative_data_folders_reach_workers_as_absolute_ones(home):
    assert Workspace.open(data="data").cluster.data == str(home / "data")


def test_a_ray_cluster_that_is_not_there_is_named_at_once(home, capsys):
    assert cli.main(["search", "--digits", "--trials", "1", "--ray-address", "127.0.0.1:1"]) == 1
    assert "Ray could not be reached or started at 127.0.0.1:1. Check RAY_ADDRESS" in capsys.readouterr().err


def test_rows_are_written_as_the_tables_rows_are(home):
    assert cli.main([*RUN, "--seeds", "1", "2", "--rows", "out/rows.csv"]) == 0
    rows = pd.read_csv(home / "out" / "rows.csv")
    assert rows.seed.tolist() == [1, 2]
    assert {"run_id", "git_commit", "data_sha256", "config", "accuracy"} <= set(rows.columns)


def test_seeds_may_be_a_range(home, capsys):
    words = "run --method sgd --benchmark split-digits --set epochs=1 tasks=2 hidden=16 --json --seeds"
    assert cli.main([*words.split(), "3", "1-2", "2"]) == 0
    assert [run["seed"] for run in json.loads(capsys.readouterr().out)["runs"]] == [3, 1, 2]
    for odd in ("1-", "5-1", "x", "1-2000", "-3"):
        assert cli.main([*words.split(), odd]) == 1 and capsys.readouterr().err.count("\n") == 1


def test_a_winner_is_run_by_its_file(home, capsys):
    Path("best.yaml").write_text("params: {eta0: 1e-2}\nspace: {method: sgd, fixed: {optimizer: adam, validation: 300}}\n")
    Path("own.yaml").write_text("epochs: 1\ntasks: 2\nhidden: [16]\n")
    words = "run --method sgd --benchmark split-digits --seeds 1 --json --set @own.yaml @best.yaml"
    assert cli.main(words.split()) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert cli.main(["show", run["run_id"]]) == 0
    shown = capsys.readouterr().out
    assert "adam" in shown and "0.01" in shown
    assert cli.main(["run", "--method", "sgd", "--benchmark", "split-digits", "--set", "@nowhere.yaml"]) == 1
    assert "nowhere.yaml cannot be read" in capsys.readouterr().err


def test_the_address_of_the_pages_is_printed(home, capsys, monkeypatch):
    called = []
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])

    class Server:
        def __init__(self, words, **_):
            called.append(words)

        def wait(self):
            return 0

        terminate = wait

    monkeypatch.setattr("pipeline.cli.pages.subprocess.Popen", Server)
    assert cli.main(["mlflow-ui", "--port", port, "--host", "0.0.0.0"]) == 0
    assert f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning" in capsys.readouterr().out
    assert called[0][-4:] == ["--host", "0.0.0.0", "--port", port]
    assert cli.main(["mlflow-ui", "--mlflow", "http://example.invalid:1"]) == 0  # a server has its pages itself
    assert "http://example.invalid:1/#/experiments" in capsys.readouterr().out and len(called) == 1
    assert cli.main(["mlflow-ui", "--port", "99999"]) == 1 and "--port must be" in capsys.readouterr().err
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        assert cli.main(["mlflow-ui", "--port", str(s.getsockname()[1])]) == 1
    assert "listens on" in capsys.readouterr().err


def test_the_searches_open_in_optunas_pages_if_they_are_there(home, capsys, monkeypatch):
    assert cli.main(["optuna-dashboard"]) == 1 and "no study" in capsys.readouterr().err
    Path(".presyn/optuna.db").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["optuna-dashboard"]) == 1 and "pip install optuna-dashboard" in capsys.readouterr().err


RULE = """
from presyn import METHODS
from presyn.methods.sgd import SGD

class Mine(SGD):
    pass

METHODS["mine"] = Mine
"""


def test_steps_can_be_measured_in_a_process_of_its_own(home):
    """As they are for GPUs, on which the driver must not keep a context."""
    run = make_run("sgd", "split-digits", 1, {"epochs": 1, "tasks": 1, "hidden": [8]})
    step, image = measure_apart(run, None, "cpu")
    assert image > 0 and 0 < step < 60
    Path("my-rule.py").write_text(RULE)  # no name that Python could import
    with user_code(["my-rule.py"]):
        assert measure_apart(make_run("mine", "split-digits", 1, {"hidden": [8]}), None, "cpu")[0] > 0
    with pytest.raises(PresynError, match="could not be measured on no-such-device"):
        measure_apart(run, None, "no-such-device")
