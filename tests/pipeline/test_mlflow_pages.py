"""What somebody sees who opens MLflow's pages: names, metrics, descriptions, saved views, and the winner of a search."""

import json
import os
import sys
from dataclasses import replace

import pytest
from mlflow.entities import Metric, Param

from pipeline.cli import main
from pipeline.cli.pages import latest_table, own_names, security_options, serve
from pipeline.records.mlflow.content import condition, row_metrics, row_params, row_tags
from pipeline.records.mlflow.notes import Note, read_notes
from pipeline.records.mlflow.views import read_state, views
from pipeline.records.mlflow.writer import Writer, sync
from pipeline.records.store import Store
from pipeline.workspace import Workspace
from presyn import Benchmark, PresynError, Record, make_run

ACCURACY = [[0.9, None], [0.7, 0.8]]
SEARCHED = ["g_lim", "p_up"]
BEST = "mlflow.sharedViewState.presyn-best-first"
CONDITION = "mlflow.sharedViewState.presyn-by-condition"


@pytest.fixture
def store(home):
    return Store(home / ".presyn")


@pytest.fixture
def uri(store):
    return f"sqlite:///{store.root / 'mlflow.db'}"


def put(store, run, **changes):
    """A finished row of a run over two tasks."""
    series = {"accuracy": ACCURACY, "loss": [1.0, 0.5], "figures": {"mean_p": [0.3, 0.4]}}
    record = Record(**{"status": "finished", **series, "seconds": [2.0, 3.0], "ended": [1000.0, 1003.0], **changes})
    return store.put(run.run_id("sha"), run, "sha", record.as_dict(), {})


def trials(store, n=3):
    """Rows of a search, of which the second is the best."""
    rows = []
    for number in range(n):
        settings = {"p_up": 0.01 * (number + 1), "g_lim": 0.001, "validation": 300, "tests": "new"}
        last = 0.8 if number == 1 else 0.5
        run = make_run("presynaptic", "permuted-digits", number, settings)
        rows.append(put(store, run, accuracy=[[0.9, None], [last, last]]))
    return rows


def search_note(rows, **changes):
    labels = {row.run_id: {"trial": str(number)} for number, row in enumerate(rows)}
    note = Note("search", "search/x/123", "x, search of presynaptic", [row.run_id for row in rows], labels=labels)
    note.about, note.columns, note.searched = "A search.", ["trial"], SEARCHED
    note.objective, note.winner = "validation_accuracy", rows[1].run_id
    return replace(note, **changes)


def runs_of(client, name):
    """Runs of an experiment: of networks by their run id, parents by their identity."""
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return {run.data.tags.get("run_id") or run.data.tags["presyn_parent"]: run for run in runs}


def write(store, uri, note, rows):
    note.save(store)
    writer = Writer(uri, store, note)
    for row in rows:
        writer.write(row)
    writer.finish()


def state(experiment, key):
    envelope = json.loads(experiment.tags[key])
    assert {"name", "createdAt", "updatedAt", "state"} == envelope.keys() and envelope["state"].startswith("deflate;")
    return envelope["name"], read_state(envelope["state"])


def history(row, objective="accuracy"):
    courses: dict = {}
    for name, value, _, step in row_metrics(row, objective):
        courses.setdefault(name, []).append((step, round(value, 6)))
    return courses


def test_names_begin_with_what_tells_runs_apart(store, uri, client):
    rows = trials(store)
    write(store, uri, search_note(rows), rows)
    ran = put(store, make_run("sgd", "split-digits", 3, {"epochs": 1}))
    plain = put(store, make_run("sgd", "split-digits", 4))
    write(store, uri, Note("run", "run", run_ids=[ran.run_id, plain.run_id]), [ran, plain])
    table = Note("table1", "table1/1", "table 1", [ran.run_id], labels={ran.run_id: {"parameters": "searched"}})
    table.columns, table.objective = ["method", "benchmark", "parameters", "seed"], "accuracy"
    write(store, uri, table, [ran])
    energy = Note("energy", "energy/1", "energy", [ran.run_id], labels={ran.run_id: {"model": "plastic", "l2": "0.01"}})
    energy.columns, energy.objective = ["model", "l2", "seed"], "information_per_energy"
    write(store, uri, energy, [ran])
    assert runs_of(client, "search")[rows[0].run_id].info.run_name == (
        "g_lim 0.001, p_up 0.01, trial 0, presynaptic, permuted-digits"
    )
    assert runs_of(client, "run")[ran.run_id].info.run_name == "epochs 1, seed 3, sgd, split-digits"
    assert runs_of(client, "run")[plain.run_id].info.run_name == "seed 4, sgd, split-digits"
    assert runs_of(client, "table1")[ran.run_id].info.run_name == "sgd, split-digits, searched, seed 3"
    assert runs_of(client, "energy")[ran.run_id].info.run_name == "plastic, l2 0.01, seed 3, sgd, split-digits"
    conditions = {name: runs_of(client, name)[ran.run_id].data.tags["condition"] for name in ("run", "table1", "energy")}
    assert conditions == {
        "run": "epochs 1, sgd, split-digits",
        "table1": "sgd, split-digits, searched",
        "energy": "plastic, l2 0.01",
    }


def test_a_condition_names_all_that_is_set_otherwise(store):
    """Of options that a configuration leaves out at their neutral value too, and on a benchmark that is not known here."""
    weak, strong = (make_run("sgd", "split-digits", 1, {"l2": l2}) for l2 in (0.01, 0.5))
    own = Benchmark(name="bm", dataset="digits", kind="split", tasks=3)
    slow, fast = (make_run("sgd", own, 1, {"eta0": eta0}) for eta0 in (0.1, 0.2))
    rows = [put(store, run) for run in (weak, strong, slow, fast)]
    note = Note("run", "run", run_ids=[row.run_id for row in rows])
    conditions = [condition(row, note) for row in rows]
    assert conditions[:2] == ["l2 0.01, sgd, split-digits", "l2 0.5, sgd, split-digits"]
    assert "eta0 0.1" in conditions[2] and "eta0 0.2" in conditions[3] and conditions[2].endswith("sgd, bm")


def test_a_run_that_ended_amid_a_task_was_tested_at_the_end_of_those_before(store):
    run = make_run("sgd", "split-digits", 2, {"parts": "epoch", "epochs": 3})
    series = {"loss": [1.0] * 11, "figures": {}, "seconds": [1.0] * 11, "ended": [1000.0 + i for i in range(11)]}
    accuracy = [[0.9, None, None, None, None], [0.8, 0.9, None, None, None], [0.7, 0.8, 0.9, None, None]]
    lost = put(store, run, status="diverged", accuracy=accuracy, **series)
    assert [step for step, _ in history(lost)["accuracy_task_01"]] == [3, 6, 9]


def test_no_metric_alternates_between_tasks_and_the_objective_comes_first(store):
    whole = history(put(store, make_run("presynaptic", "permuted-digits", 0)))
    assert next(iter(whole)) == "accuracy" and whole["accuracy"] == [(1, 0.9), (2, 0.75)] and whole["loss"] == [(2, 0.5)]
    assert whole["loss_task_01"] == [(1, 1.0)] and whole["loss_task_02"] == [(2, 0.5)]
    assert whole["seconds"] == [(1, 2.0), (2, 5.0)] and whole["mean_accuracy"] == [(2, 0.75)]
    searched = history(trials(store)[1], "forgetting")
    assert [*searched][:2] == ["forgetting", "validation_accuracy"] and "accuracy" not in searched
    settings = {"validation": 300, "tests": "new"}
    new_alone = put(store, make_run("sgd", "permuted-digits", 9, settings), accuracy=[[0.9, None], [None, 0.5], [0.4, 0.5]],
                    loss=[1.0] * 3, figures={}, seconds=[1.0] * 3, ended=[1000.0] * 3)  # fmt: skip
    assert history(new_alone)["validation_accuracy"][1:] == [(3, 0.45)], "the new task alone is another one each time"


def test_figures_of_the_images_of_one_task_are_a_course_only_where_there_is_one_task(store):
    figures = {"energy": [100.0, 200.0], "information": [1.0, 3.0]}
    several = history(put(store, make_run("presynaptic", "permuted-digits", 1), figures=figures))
    assert several["information"] == [(2, 3.0)] and several["information_task_01"] == [(1, 1.0)]
    assert several["energy"] == [(1, 100.0), (2, 200.0)] and several["information_per_energy"] == [(2, 15.0)]
    one = history(put(store, make_run("sgd", "digits", 1), accuracy=[[0.8]], figures=figures))
    assert one["information_per_energy"] == [(1, 10.0), (2, 15.0)] and one["loss"] == [(1, 1.0), (2, 0.5)]
    assert one["accuracy"] == [(2, 0.8)]


def test_a_run_that_was_lost_is_never_among_the_best(store):
    lost = put(store, make_run("sgd", "permuted-digits", 2), status="dropped", accuracy=[[0.99, None]], loss=[1.0], figures={},
               seconds=[1.0], ended=[1000.0])  # fmt: skip
    assert "seconds" not in history(lost, "seconds"), "whatever runs are compared by"
    assert "accuracy" not in history(lost) and history(lost)["accuracy_task_01"] == [(1, 0.99)]


def test_an_experiment_is_described_and_has_views_that_are_written_once(store, uri, client, monkeypatch):
    rows = trials(store)
    write(store, uri, search_note(rows, objective="forgetting", minimize=True), rows)
    experiment = client.get_experiment_by_name("search")
    assert experiment.tags["mlflow.note.content"].startswith("A search.\n\nRuns are compared by `forgetting` (less is better)")
    name, best = state(experiment, BEST)
    assert name == "Best first" and best["orderByKey"] == "metrics.`forgetting`" and best["orderByAsc"] is True
    assert best["selectedColumns"][0] == "metrics.`forgetting`" and best["searchFilter"] == "tags.run_id != ''"
    assert {"params.`g_lim`", "params.`p_up`"} <= set(best["selectedColumns"])
    assert best["compareRunCharts"][0]["metricKey"] == "forgetting"
    _, grouped = state(experiment, CONDITION)
    assert grouped["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "condition"}]
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "ours")
    before = client.get_experiment_by_name("search").tags
    assert sync(store, uri)
    assert client.get_experiment_by_name("search").tags == before, "what people wrote stays, and nothing is written again"


def test_the_best_of_a_search_that_halves_are_those_on_all_tasks(store):
    rows = trials(store)
    note = search_note(rows)
    note.labels = {row.run_id: {"tasks": tasks} for row, tasks in zip(rows, ("1", "5", "10"), strict=True)}
    filters = {view.name: view.state["searchFilter"] for view in views([note])}
    assert filters == {"Best first": "tags.run_id != '' AND tags.tasks = '10'", "By condition": "tags.run_id != ''"}


def test_each_search_of_an_experiment_has_a_view_of_its_own(store, uri, client):
    rows = trials(store)
    write(store, uri, search_note(rows), rows)
    other = Note("search", "search/it's other/9", "other", [rows[0].run_id], searched=["eta0"], objective="validation_accuracy")
    write(store, uri, other, rows[:1])
    tags = client.get_experiment_by_name("search").tags
    saved = dict(
        state(client.get_experiment_by_name("search"), key) for key in tags if key.startswith("mlflow.sharedViewState")
    )
    assert saved.keys() == {"Best first", "By condition", "Best first: x", "Best first: it's other"}
    experiment = [client.get_experiment_by_name("search").experiment_id]
    for name, count in (("Best first", 4), ("Best first: x", 3), ("Best first: it's other", 1)):
        assert len(client.search_runs(experiment, saved[name]["searchFilter"])) == count, name
    assert "params.`eta0`" in saved["Best first: it's other"]["selectedColumns"]
    keys = [key["groupByData"] for key in saved["By condition"]["groupBy"]["groupByKeys"]]
    assert keys == ["presyn_part", "condition"]


def test_what_was_asked_for_twice_is_averaged_each_time(store):
    rows = trials(store)
    table = Note("table1", "table1/1", "table 1", [rows[0].run_id], columns=["seed"], objective="accuracy")
    more = replace(table, identity="table1/2", run_ids=[row.run_id for row in rows])
    for notes, tags in (([table], ["condition"]), ([table, more], ["presyn_sweep", "condition"])):
        state = next(view.state for view in views(notes) if view.name == "By condition")
        assert [key["groupByData"] for key in state["groupBy"]["groupByKeys"]] == tags
    assert row_tags(rows[0], more, store)["presyn_sweep"] == "table1/2"


def test_a_parent_that_is_made_again_takes_the_runs_of_the_deleted_one(store, uri, client):
    rows = trials(store)
    write(store, uri, search_note(rows), rows)
    deleted = runs_of(client, "search")["search/x/123"].info.run_id
    client.delete_run(deleted)
    write(store, uri, search_note(rows), rows)
    runs = runs_of(client, "search")
    parent = runs.pop("search/x/123").info.run_id
    experiment = [client.get_experiment_by_name("search").experiment_id]
    assert parent != deleted and len(client.search_runs(experiment)) == 4
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent}


def test_a_parent_says_the_last_winner_and_no_failure_that_is_past(store, uri, client):
    rows = trials(store)
    write(store, uri, search_note(rows, failed="the disk was full"), rows)
    assert runs_of(client, "search")["search/x/123"].data.tags["reason"] == "the disk was full"
    for p_up in (0.01, 0.02):
        write(store, uri, search_note(rows, params={"best_p_up": p_up}), rows)
        parent = runs_of(client, "search")["search/x/123"]
        assert parent.data.tags["best_p_up"] == str(p_up) and parent.info.status == "FINISHED"
        assert "reason" not in parent.data.tags


def test_the_parent_of_a_search_names_the_winner_and_leads_to_it(store, uri, client):
    rows = trials(store)
    note = search_note(rows)
    for ended in (1003.0, 2000.0):  # the second time it was trained again, and is another run in MLflow
        rows[1] = put(store, rows[1].run(), accuracy=[[0.9, None], [0.8, 0.8]], ended=[1000.0, ended])
        write(store, uri, note, rows)
        runs = runs_of(client, "search")
        winner, parent = runs[rows[1].run_id], runs["search/x/123"]
        link = f"[{winner.info.run_name}](#/experiments/{winner.info.experiment_id}/runs/{winner.info.run_id})"
        assert f"**Winner**: {link}, with validation_accuracy 0.8" in parent.data.tags["mlflow.note.content"]
        assert parent.data.tags["winner"] == winner.info.run_name and parent.data.tags["winner_run_id"] == rows[1].run_id


def test_what_is_said_otherwise_now_is_renewed_where_it_is(store, uri, client):
    rows = trials(store)
    note = search_note(rows)
    write(store, uri, note, rows)
    before = {run_id: run.info.run_id for run_id, run in runs_of(client, "search").items()}
    client.update_run(before[rows[2].run_id], name="my favourite")
    note.labels = {row.run_id: {"trial": str(number + 7)} for number, row in enumerate(rows)}
    note.save(store)
    assert sync(store, uri)
    after = runs_of(client, "search")
    assert {run_id: run.info.run_id for run_id, run in after.items()} == before
    assert after[rows[0].run_id].data.tags["trial"] == "7" and ", trial 7," in after[rows[0].run_id].info.run_name
    assert after[rows[2].run_id].data.tags["trial"] == "9" and after[rows[2].run_id].info.run_name == "my favourite"


def project_as_before(store, client, rows):
    """A search as earlier versions wrote it: names that begin alike, a metric that alternates, notes that know less."""
    labels = {row.run_id: {"trial": str(number)} for number, row in enumerate(rows)}
    note = search_note(rows, name="Search presynaptic-x", params={"best_p_up": 0.02}, metrics={"best_validation_accuracy": 0.8})
    note.save(store)
    path = note.path(store)
    text = json.loads(path.read_text())
    new = ("about", "columns", "searched", "objective", "minimize", "winner")
    path.write_text(json.dumps({name: value for name, value in text.items() if name not in new}))
    experiment = client.create_experiment("search", (store.root / "mlartifacts" / "search").as_uri())
    tags = {
        "presyn_parent": note.identity,
        "presyn_store": store.id,
        "mlflow.note.content": f"**{note.name}**: 3 runs of presyn.",
    }
    parent = client.create_run(experiment, run_name=note.name, tags=tags).info.run_id
    for row in rows:
        own = {**labels[row.run_id], "run_id": row.run_id, "presyn_store": store.id, "method": "presynaptic"}
        own |= {"benchmark": "permuted-digits", "seed": str(row.config["seed"]), "mlflow.parentRunId": parent}
        name = f"{labels[row.run_id]['trial']} presynaptic permuted-digits {row.config['seed']}"
        run = client.create_run(experiment, run_name=name, tags=own).info.run_id
        values = {"loss": 0.5, "seconds": 3.0, "mean_p": 0.4, "mean_accuracy": row.mean_accuracy, "forgetting": row.forgetting}
        values |= {"accuracy_of_tested": 0.5, "accuracy_task_01": 0.5, "accuracy_task_02": 0.5}
        metrics = [Metric(name, value, 1_003_000, 2) for name, value in values.items()]
        client.log_batch(run, metrics, [Param(name, value) for name, value in row_params(row).items()])
        client.set_terminated(run, "FINISHED", 1_003_000)


def test_a_projection_of_an_earlier_version_is_brought_up_to_date(store, uri, client):
    rows = trials(store)
    project_as_before(store, client, rows)
    named = runs_of(client, "search")[rows[2].run_id].info.run_id
    client.update_run(named, name="my favourite")
    client.set_tag(named, "checked by", "ada")
    assert main(["sync-mlflow"]) == 0
    runs = runs_of(client, "search")
    assert len(client.search_runs([client.get_experiment_by_name("search").experiment_id])) == len(runs) == 4
    assert runs[rows[0].run_id].info.run_name == "p_up 0.01, trial 0, presynaptic, permuted-digits"
    assert runs[rows[2].run_id].info.run_name == "my favourite" and runs[rows[2].run_id].data.tags["checked by"] == "ada"
    for row in rows:
        metrics = runs[row.run_id].data.metrics
        assert metrics["validation_accuracy"] == metrics["mean_accuracy"] == row.mean_accuracy
        assert "accuracy_of_tested" not in metrics and metrics["loss_task_01"] == 1.0
    parent = runs["search/x/123"]
    assert parent.info.run_name == "x, search of presynaptic" and parent.data.tags["winner_run_id"] == rows[1].run_id
    assert runs[rows[1].run_id].info.run_id in parent.data.tags["mlflow.note.content"]
    _, best = state(client.get_experiment_by_name("search"), BEST)
    assert best["orderByKey"] == "metrics.`validation_accuracy`" and "params.`p_up`" in best["selectedColumns"]
    assert client.get_experiment_by_name("search").tags["mlflow.note.content"].startswith("Searches: ")
    ids = {run.info.run_id for run in runs.values()}
    assert sync(store, uri)
    assert {run.info.run_id for run in runs_of(client, "search").values()} == ids, "the second time there is nothing to do"


def test_a_row_with_less_in_it_leaves_an_earlier_run_as_it_is(store, uri, client):
    rows = trials(store)
    project_as_before(store, client, rows)
    poorer = put(store, rows[0].run(), accuracy=rows[0].record.accuracy, figures={})
    before = runs_of(client, "search")[poorer.run_id].info.run_id
    assert sync(store, uri)
    after = runs_of(client, "search")[poorer.run_id]
    assert after.info.run_id == before and after.data.metrics["mean_p"] == 0.4
    assert after.info.run_name.startswith("p_up 0.01"), "its name is renewed all the same"


def test_the_pages_open_with_the_view_that_fits(store, uri, client):
    rows = trials(store)
    workspace = Workspace.open(store=str(store.root))
    assert latest_table(workspace) == ""
    write(store, uri, search_note(rows), rows)
    number = client.get_experiment_by_name("search").experiment_id
    assert latest_table(workspace) == f"/{number}/runs?viewStateShareKey=presyn-best-first"
    client.delete_experiment_tag(number, BEST)
    assert latest_table(workspace) == f"/{number}/runs", "a view that is not there is not named"
    assert read_notes(store)[0].winner == rows[1].run_id


def test_the_noise_of_a_server_goes_to_its_log_and_its_end_is_said(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    noisy = tmp_path / "noisy.py"
    noisy.write_text("import sys\nfor n in range(40): print('noise', n)\nsys.exit('no such table')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(PresynError, match=r"ended by itself \(no such table\)"):
        serve(["noisy"], "0.0.0.0", 5999, "/#/x", tmp_path / "log")
    captured = capfd.readouterr()
    assert captured.out.splitlines()[0] == "http://127.0.0.1:5999/#/x" and captured.out.count("\n") == 3
    assert "noise 3" not in captured.out + captured.err and "noise 39" in (tmp_path / "log").read_text()


def test_a_server_answers_to_the_names_it_is_called_by(monkeypatch):
    for name in ("MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pipeline.cli.pages.own_names", lambda: ["Node7", "node7.lab.org", "10.1.2.3", "fe80::1%eth0"])
    assert security_options("127.0.0.1", 5000, ()) == []
    _, hosts, _, origins = security_options("0.0.0.0", 5000, ["mlflow.lab.org", "proxy:8080"])
    hosts, origins = hosts.split(","), origins.split(",")
    for name in ("localhost", "node7", "node7:5000", "node7.lab.org:5000", "10.1.2.3:5000", "[fe80::1]:5000", "192.168.*"):
        assert name in hosts, name
    assert {"mlflow.lab.org", "mlflow.lab.org:5000", "proxy:8080"} <= set(hosts) and "proxy" not in hosts
    assert {"http://node7:5000", "https://mlflow.lab.org", "http://proxy:8080"} <= set(origins) and not any(
        "*" in o for o in origins
    )
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "else")
    assert "--allowed-hosts" not in security_options("0.0.0.0", 5000, ()), "what the variable says counts"
    assert "--allowed-hosts" in security_options("127.0.0.1", 5000, ["mlflow.lab.org"])


@pytest.mark.skipif(sys.platform == "win32", reason="names of this machine are looked up otherwise there")
def test_own_names_have_that_of_this_machine():
    import socket

    assert socket.gethostname() in own_names() and all(own_names())
