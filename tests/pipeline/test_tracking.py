"""MLflow mirrors the store: complete, nothing doubled, and never in the way of training."""

import json
import shutil
import socket
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from pipeline import cli
from pipeline.records.mlflow.notes import Note, read_notes
from pipeline.records.mlflow.server import answers
from pipeline.records.mlflow.writer import Writer, sync
from pipeline.records.store import Store
from presyn import Record, make_run

RESULTS = Path(__file__).parents[2] / "results"
RECORD = Record(
    status="finished",
    accuracy=[[0.9, None], [0.7, 0.8]],
    loss=[1.0, 0.5],
    figures={"mean_p": [0.3, 0.4]},
    seconds=[2.0, 3.0],
    ended=[1000.0, 1003.0],
).as_dict()

RUNS = [make_run("presynaptic", "permuted-digits", s) for s in range(3)]
IDS = [run.run_id("sha") for run in RUNS]


@pytest.fixture
def store(home):
    return Store(home / ".presyn")


def uri(store):
    return f"sqlite:///{store.root / 'mlflow.db'}"


def rows_of(store, n):
    return [store.put(i, run, "sha", RECORD, {}) for i, run in zip(IDS[:n], RUNS[:n], strict=True)]


def everything(client):
    """All runs with what they hold, by experiment."""
    found = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            history = {k: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, k)] for k in run.data.metrics}
            found[experiment.name, run.data.tags.get("run_id", "parent")] = (run, history)
    return found


def test_a_run_holds_configuration_tags_and_metrics_over_tasks(store, client):
    tracker = Writer(uri(store), store, Note("search", "s", "a sweep", [IDS[0]]))
    tracker.write(rows_of(store, 1)[0])
    runs = everything(client)
    run, history = runs["search", IDS[0]]
    assert {"stage", "method", "benchmark", "seed", "run_id", "git_commit", "git_dirty", "data_sha256"} <= run.data.tags.keys()
    assert run.data.tags["mlflow.parentRunId"] == runs["search", "parent"][0].info.run_id
    assert run.data.params["p_up"] == "0.052" and run.data.params["hidden"] == "[100, 100]"
    assert run.data.metrics["mean_accuracy"] == pytest.approx(0.75)
    assert history["mean_p"] == [(1, 0.3), (2, 0.4)]
    assert history["accuracy_task_01"] == [(1, 0.9), (2, 0.7)] and history["accuracy_task_02"] == [(2, 0.8)]
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 998_000, 1_003_000)


def test_writing_again_doubles_nothing(store, client, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri(store))  # load_table looks only there
    table = tmp_path / "table.csv"
    table.write_text("method,ours\nsgd,0.5\n")
    rows = rows_of(store, 3)
    for _ in range(3):
        stage = Note("table1", "t", "a table", IDS, {"n": 3}, {"best": 0.5}, [str(table)], str(table))
        stage.save(store)
        tracker = Writer(uri(store), store, stage)
        for row in rows:
            tracker.write(row)
        tracker.finish()
    assert sync(store, uri(store))
    runs = everything(client)
    assert Counter(name for name, _ in runs) == {"table1": 4}
    assert all(len(set(points)) == len(points) for _, history in runs.values() for points in history.values())
    parent = runs["table1", "parent"][0].info
    assert len(client.load_table(parent.experiment_id, "table.json", [parent.run_id])) == 1


def test_a_run_that_was_cut_off_half_way_is_completed(store, client):
    row = rows_of(store, 1)[0]
    tracker = Writer(uri(store), store, Note("search", "s", "a sweep", [IDS[0]]))
    original = tracker.client.set_terminated
    tracker.client.set_terminated = lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        tracker.write(row)
    tracker.client.set_terminated = original
    Writer(uri(store), store, Note("search", "s", "a sweep", [IDS[0]])).write(row)
    runs = everything(client)
    assert len(runs) == 2
    run, history = runs["search", IDS[0]]
    assert run.info.status == "FINISHED" and history["loss_task_02"] == [(2, 0.5)]


def test_dropped_and_diverged_runs_show_as_such(store, client):
    tracker = Writer(uri(store), store, Note("search", "s", "a sweep", ["dropped", "diverged"]))
    for seed, status in enumerate(("dropped", "diverged")):
        cut = Record(status=status, accuracy=[[0.2, None]], loss=[float("nan")], seconds=[1.0], ended=[9.0])
        tracker.write(store.put(status, make_run("sgd", "permuted-digits", seed), "sha", cut.as_dict(), {}))
    runs = everything(client)
    assert runs["search", "dropped"][0].info.status == "KILLED" and runs["search", "diverged"][0].info.status == "FAILED"
    assert runs["search", "dropped"][0].data.tags["status"] == "dropped"


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_an_unreachable_server_stops_nothing_and_sync_makes_up_for_it(store, client, capsys):
    dead = f"http://127.0.0.1:{closed_port()}"
    words = [
        "run",
        "--method",
        "sgd",
        "--benchmark",
        "split-digits",
        "--seeds",
        "1",
        "2",
        "--set",
        "epochs=1",
        "--mlflow",
        dead,
    ]
    assert cli.main(words) == 0
    error = capsys.readouterr().err
    assert error.count("is not written") == 1 and "presyn sync-mlflow" in error
    assert len(store.ids()) == 2 and not everything(client)
    assert cli.main(["sync-mlflow"]) == 0
    assert set(everything(client)) == {("run", i) for i in store.ids()}


def test_sync_puts_a_run_of_two_stages_into_both(store, client):
    words = ["run", "--method", "sgd", "--benchmark", "split-digits", "--seeds", "1", "--set", "epochs=1"]
    assert cli.main(words) == 0
    (run_id,) = store.ids()
    Note("search", "s", "a sweep", [run_id]).save(store)
    assert cli.main(["sync-mlflow"]) == 0
    assert set(everything(client)) == {("run", run_id), ("search", run_id), ("search", "parent")}


def test_a_server_that_hangs_is_given_up_after_the_probe(store):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        began = time.monotonic()
        assert not answers(f"http://127.0.0.1:{s.getsockname()[1]}")
        assert time.monotonic() - began < 10  # the probe waits 3 s; MLflow alone would wait for minutes


def test_a_server_that_dies_in_between_stops_nothing(store, capsys):
    tracker = Writer(uri(store), store, Note("search", "s", "a sweep", [IDS[0]]))
    tracker.client.create_run = lambda *a, **k: (_ for _ in ()).throw(ConnectionError("gone"))
    for row in rows_of(store, 2):
        tracker.write(row)
    tracker.finish()
    assert capsys.readouterr().err.count("gone") == 1


def test_a_row_goes_to_each_of_its_stages_and_a_stage_that_lacks_one_stays_open(store, client):
    whole, part = Note("search", "a", "whole", [IDS[0]]), Note("table1", "b", "part", IDS[:2])
    tracker = Writer(uri(store), store, whole, part, Note("ablations", "c", "of other runs", [IDS[2]]))
    tracker.write(rows_of(store, 1)[0])
    tracker.finish()
    runs = everything(client)
    assert set(runs) == {(s, i) for s in ("search", "table1") for i in (IDS[0], "parent")} | {("ablations", "parent")}
    assert runs["search", "parent"][0].info.status == "FINISHED" and runs["table1", "parent"][0].info.status == "RUNNING"


def test_damaged_notes_of_stages_are_skipped(store):
    Note("search", "s", "a sweep", [IDS[0]]).save(store)
    (store.stages / "search-broken.json").write_text("{")
    assert [note.identity for note in read_notes(store)] == ["s"]


def test_a_row_that_was_trained_afresh_replaces_its_run_and_an_old_one_is_left_alone(store, client):
    def write(record):
        row = store.put(IDS[0], make_run("sgd", "permuted-digits", 0), "sha", record, {})
        Writer(uri(store), store, Note("run", "run", run_ids=[IDS[0]])).write(row)
        runs = everything(client)
        assert len(runs) == 1
        return runs["run", IDS[0]][0].info

    first, again = write(RECORD), write(RECORD)
    assert again.run_id == first.run_id
    assert write({**RECORD, "ended": [1000.0, 1009.0]}).end_time == 1_009_000


def test_verdicts_are_logged_once_and_again_when_they_change(home, client):
    for folder in ("table1", "perceptron"):
        shutil.copytree(RESULTS / folder, Path("results") / folder)
    for _ in range(2):
        assert cli.main(["verify"]) == 0
    (run,) = client.search_runs([client.get_experiment_by_name("verify").experiment_id])
    table = pd.read_csv("results/verdicts.csv")
    assert run.data.metrics["reproduced"] == (table.verdict == "reproduced").sum() > 0
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {
        "table.json",
        "verdicts.csv",
        "verdicts.md",
        "claims.csv",
        "claims.md",
        "verdict-rates.csv",
        "verdict-rates.md",
    }
    rows = pd.read_csv("results/table1/runs.csv")
    rows[rows.method != "joint"].to_csv("results/table1/runs.csv", index=False)
    assert cli.main(["verify"]) == 1, "the table is not what these rows make"
    assert len(client.search_runs([run.info.experiment_id])) == 2


def test_runs_say_which_row_of_the_table_they_are_and_experiments_what_kind(home, here, client):
    words = "ablate --digits --off no-freezing ghost --trials 1 --seeds 1 --results out"
    assert cli.main(words.split()) == 0
    experiment = client.get_experiment_by_name("ablations")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    runs = client.search_runs([experiment.experiment_id], "tags.run_id != ''")
    assert Counter(r.data.tags["ablation"] for r in runs) == {"full": 1, "no-freezing": 1, "ghost": 1}
    assert all(r.data.tags["ablation"] in r.info.run_name for r in runs)
    trials = client.search_runs([client.get_experiment_by_name("search").experiment_id], "tags.run_id != ''")
    assert {r.data.tags["trial"] for r in trials} == {"0"}


def test_labels_survive_a_rebuild_and_old_notes_have_none(store, client):
    row = rows_of(store, 1)[0]
    Note("search", "s", "a sweep", [IDS[0]], labels={IDS[0]: {"trial": "7"}}).save(store)
    assert sync(store, uri(store))
    assert everything(client)["search", IDS[0]][0].data.tags["trial"] == "7"
    path = next(store.stages.iterdir())
    old = json.loads(path.read_text())
    del old["labels"]
    path.write_text(json.dumps(old))
    assert read_notes(store)[0].labels == {} and row.run_id in read_notes(store)[0].run_ids
