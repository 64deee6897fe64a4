"""What MLflow's users rely on: what others and people wrote stays, no password is shown, each trouble has its remedy."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.cli import main
from pipeline.cli.pages import latest_table
from pipeline.records.mlflow.database import what_is_wrong
from pipeline.records.mlflow.notes import Note
from pipeline.records.mlflow.server import address
from pipeline.records.mlflow.writer import Writer, sync
from pipeline.records.store import Store
from pipeline.workspace import Workspace
from presyn import PresynError, Record, make_run
from presyn.errors import hide_passwords
from sweeps.files import sqlite_address

ONE = ["run", "--method", "sgd", "--benchmark", "split-digits", "--seeds", "1", "--set", "epochs=1", "tasks=1"]
RUN = make_run("sgd", "permuted-digits", 0, {"tasks": 1})
SECRET = "s3cret%40word"


def runs_of(uri, name="run"):
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(name)
    return [] if found is None else client.search_runs([found.experiment_id])


def row_of(store, **changes):
    whole = {"accuracy": [[0.8]], "loss": [0.5], "figures": {"mean_p": [0.3]}, "seconds": [2.0], "ended": [1000.0]}
    record = Record(status="finished", **{**whole, **changes})
    return store.put(RUN.run_id("sha"), RUN, "sha", record.as_dict(), {})


@pytest.fixture
def own(home):
    return sqlite_address(home / ".presyn" / "mlflow.db")


@pytest.fixture
def web():
    """A web server that answers everything with one status and body; what it was asked is in `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.status, server.body = [], 200, b"<html>hello</html>"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_two_stores_on_one_server_leave_each_others_runs_alone(home, empty_mlflow):
    shutil.copy(empty_mlflow, home / "shared.db")
    uri = sqlite_address(home / "shared.db")
    for store in ("a", "b"):
        assert main([*ONE, "--store", store, "--mlflow", uri]) == 0
    before = {r.info.run_id: r.data.tags["presyn_store"] for r in runs_of(uri)}
    assert len(before) == 2 and len(set(before.values())) == 2
    assert main([*ONE, "--store", "b", "--mlflow", uri, "--fresh"]) == 0
    assert main(["sync-mlflow", "--store", "b", "--mlflow", uri]) == 0
    after = {r.info.run_id: r.data.tags["presyn_store"] for r in runs_of(uri)}
    (of_a,) = [run for run, store in before.items() if store == Store(home / "a").id]
    assert len(after) == 2 and of_a in after and after.keys() != before.keys()


def test_what_people_wrote_stays_with_fresh_too(home, own):
    assert main(ONE) == 0
    client, (run,) = MlflowClient(own), runs_of(own)
    for name, value in (("mlflow.note.content", "look at this"), ("checked by", "ada"), ("seed", "changed")):
        client.set_tag(run.info.run_id, name, value)
    client.update_run(run.info.run_id, name="my favourite")
    assert main([*ONE, "--fresh"]) == 0
    (after,) = runs_of(own)
    assert after.info.run_id != run.info.run_id and after.info.run_name == "my favourite"
    assert after.data.tags["mlflow.note.content"] == "look at this" and after.data.tags["checked by"] == "ada"
    assert after.data.tags["seed"] == "1", "what presyn says of a run is said again"


def test_a_poorer_or_older_record_replaces_nothing(home, own):
    store = Store(home / ".presyn")
    note = Note("search", "s", "a sweep", [RUN.run_id("sha")])
    Writer(own, store, note).write(row_of(store))
    first = [r for r in runs_of(own, "search") if "run_id" in r.data.tags]
    poorer = {"figures": {}, "ended": [2000.0]}
    for changes in (poorer, {"ended": [900.0]}):
        Writer(own, store, note).write(row_of(store, **changes))
        assert [r.info.run_id for r in runs_of(own, "search") if "run_id" in r.data.tags] == [first[0].info.run_id]
    Writer(own, store, note).write(row_of(store, ended=[2000.0]))
    assert first[0].info.run_id not in [r.info.run_id for r in runs_of(own, "search")]


def test_a_parent_says_what_it_is_and_holds_the_numbers_of_its_table(home, here, own):
    words = "ablate --digits --off no-freezing --trials 1 --seeds 1 2 --results out --mlflow-prefix lab"
    assert main(words.split()) == 0
    parent = next(r for r in runs_of(own, "lab/ablations") if "presyn_parent" in r.data.tags)
    content = parent.data.tags["mlflow.note.content"]
    assert f"`presyn {words}`" in content and str(home / "out") in content
    assert parent.data.metrics["full.split-digits.n"] == 2 and "no-freezing.split-digits.mean" in parent.data.metrics
    assert parent.data.tags["mlflow.user"] and parent.data.tags["mlflow.source.name"] == f"presyn {words}"
    child = next(r for r in runs_of(own, "lab/ablations") if "run_id" in r.data.tags)
    (data,) = child.inputs.dataset_inputs
    assert data.dataset.name == "digits" and child.data.tags["data_sha256"].startswith(data.dataset.digest)
    path = latest_table(Workspace.open(mlflow=own, mlflow_prefix="lab"))
    assert path == f"/{parent.info.experiment_id}/runs?viewStateShareKey=presyn-by-condition"


def test_what_people_wrote_of_a_parent_stays(home, here, own):
    words = ["search", "--digits", "--trials", "3"]
    assert main(words) == 0
    (parent,) = [r for r in runs_of(own, "search") if "presyn_parent" in r.data.tags]
    MlflowClient(own).set_tag(parent.info.run_id, "mlflow.note.content", "mine")
    assert main(words) == 0
    assert MlflowClient(own).get_run(parent.info.run_id).data.tags["mlflow.note.content"] == "mine"


def test_a_parent_whose_search_failed_ends_as_failed_and_goes_on_when_it_is_asked_again(home, here, own, capsys):
    Path("s.yaml").write_text(
        "method: sgd\nbenchmark: permuted-digits\nsearch: {eta0: {low: 0.001, high: 0.002}}\ntrials: 1\n"
        "fixed: {validation: 300, epochs: 1, drop_below: 1.0}\n"
    )
    words = ["search", "--space", "s.yaml", "--results", "out"]
    for _ in range(2):
        assert main(words) == 1 and "No configuration" in capsys.readouterr().err
        (parent,) = [r for r in runs_of(own, "search") if "presyn_parent" in r.data.tags]
        assert parent.info.status == "FAILED" and "No configuration" in parent.data.tags["reason"]
    assert main(["sync-mlflow"]) == 0
    assert MlflowClient(own).get_run(parent.info.run_id).info.status == "FAILED"


def test_a_prefix_comes_from_the_environment_too(home, own, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "group #1")
    assert main(ONE) == 0
    assert len(runs_of(own, "group #1/run")) == 1 and not runs_of(own)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("htp://host:1", "is no tracking server"),
        ("mlruns", "folder of files is not kept any more"),
        ("file:///tmp/mlruns", "folder of files is not kept any more"),
        ("http://", "names no host"),
        ("http://host:port", "is no address"),
        (f"ftp://ada:{SECRET}@host/x", "ftp://***@host/x is no tracking server"),
        (f"http://ada:{SECRET}/pa@host:5000", "in a password as %2F"),
        (f"http://ada:{SECRET}#pa@host:5000", "in a password as %2F"),
        (f"http://ada:{SECRET}?pa@host:5000", "in a password as %2F"),
    ],
)
def test_an_address_that_is_none_is_refused_before_anything_runs(home, capsys, uri, words):
    assert main([*ONE, "--mlflow", uri]) == 1
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1 and SECRET not in told
    assert not (home / ".presyn" / "results").exists()


@pytest.mark.parametrize("variables", [True, False])
def test_a_password_reaches_the_server_and_nobody_else(home, web, monkeypatch, capfd, variables):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    uri = f"http://127.0.0.1:{web.server_port}"
    if variables:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret@word")
    else:
        uri = uri.replace("//", f"//ada:{SECRET}@")
    web.status, web.body = 401, b"You are not authenticated."
    assert main([*ONE, "--mlflow", uri]) == 0
    told = "".join(capfd.readouterr())
    assert "it wants a user and a password" in told and "MLFLOW_TRACKING_PASSWORD" in told and "server is back" not in told
    assert any(sent == "Basic YWRhOnMzY3JldEB3b3Jk" for _, sent in web.asked)
    kept = "".join(p.read_text(errors="replace") for p in (home / ".presyn").rglob("*") if p.is_file() and p.suffix != ".db")
    for word in ("s3cret", SECRET):
        assert word not in told + kept
    assert main(["mlflow-ui", "--mlflow", uri]) == 0
    assert "s3cret" not in "".join(capfd.readouterr())


def test_addresses_are_shown_without_their_users():
    assert hide_passwords("presyn run --mlflow http://a:b@c:1/x") == "presyn run --mlflow http://***@c:1/x"
    assert hide_passwords("postgresql://a:b%40@c/db failed") == "postgresql://***@c/db failed"
    for word in ("http://u:pa/ss@host:1/x", "http://u:a#b?c@host:1/x", "'http://u:pa ss@host:1/x'"):
        assert "u:" not in hide_passwords(word) and "host:1/x" in hide_passwords(word) and "ss@" not in hide_passwords(word)
    assert hide_passwords("s3://k:s@b/f?endpoint_override=http://u:p@h") == "s3://***@b/f?endpoint_override=http://***@h"
    assert hide_passwords("postgresql://h/db?user=u&password=se&x=1") == "postgresql://h/db?user=u&password=***&x=1"
    assert hide_passwords("mail a@b, see http://c/d") == "mail a@b, see http://c/d"
    assert address("http://c:1/x") == "http://c:1/x"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>hello</html>", "something that is not MLflow"),
        (404, b"no", "something that is not MLflow"),
        (403, b"no", "may not write there, or a proxy"),
        (403, b"PERMISSION_DENIED: no", "(this user may not write there)"),
        (403, b"Invalid Host header - possible DNS rebinding attack detected", "--allowed-hosts 127.0.0.1,127.0.0.1:*"),
        (407, b"", "a proxy"),
    ],
)
def test_what_answers_is_named_with_the_remedy_that_fits(home, web, capsys, status, body, words):
    web.status, web.body = status, body
    assert main([*ONE, "--mlflow", f"http://127.0.0.1:{web.server_port}"]) == 0
    told = capsys.readouterr().err
    assert words in told and "is back" not in told and told.count("is not written") == 1


def test_a_deleted_experiment_is_named_and_the_remedy_works(home, own, capsys):
    assert main(ONE) == 0
    client = MlflowClient(own)
    number = client.get_experiment_by_name("run").experiment_id
    client.delete_experiment(number)
    assert main([*ONE, "--fresh"]) == 0
    told = capsys.readouterr().err
    assert "was deleted" in told and f"--experiment-id {number}" in told
    command = ["experiments", "restore", "--experiment-id", number]
    subprocess.run([sys.executable, "-m", "mlflow", *command], env={**os.environ, "MLFLOW_TRACKING_URI": own}, check=True)
    assert main(["sync-mlflow"]) == 0 and len(runs_of(own)) == 1


@pytest.mark.parametrize("damage", ["noise", "half", "cut"])
def test_a_database_of_our_own_that_is_damaged_is_set_aside_and_made_again(home, own, capsys, damage):
    row_of(Store(home / ".presyn"))
    path = home / ".presyn" / "mlflow.db"
    if damage == "half":
        with sqlite3.connect(path) as database:
            database.execute("DROP TABLE runs")
        database.close()
    else:
        content = path.read_bytes()
        path.write_bytes(os.urandom(5000) if damage == "noise" else content[: len(content) // 2])
    capsys.readouterr()
    assert main(["sync-mlflow"]) == 0
    assert "set aside as mlflow.damaged" in capsys.readouterr().err and len(runs_of(own)) == 1
    assert (home / ".presyn" / "mlflow.damaged").exists()


def test_a_database_of_another_version_is_kept_if_there_are_runs_in_it_and_made_again_if_not(home, own, capsys):
    path = home / ".presyn" / "mlflow.db"
    for runs in (0, 1):
        with sqlite3.connect(path) as database:
            database.execute("UPDATE alembic_version SET version_num = 'bd07f7e963c5'")
        database.close()
        assert main(ONE if not runs else ["sync-mlflow"]) == runs
    told = capsys.readouterr().err
    assert "of another version of MLflow" in told and "mlflow db upgrade" in told and path.exists()


def test_a_store_that_was_moved_keeps_its_artifacts_where_it_is(home, here, own):
    words = ["search", "--digits", "--trials", "3", "--results", "out"]
    assert main(words) == 0
    shutil.rmtree("out")
    (home / ".presyn").rename(home / "a b#c%20?d")
    command = [sys.executable, "-m", "pipeline.cli", *words, "--store", "a b#c%20?d"]  # MLflow remembers places in a process
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=True)
    moved = home / "a b#c%20?d"
    assert sorted(p.name for p in home.iterdir()) == ["a b#c%20?d", "out"], "all of it is in the one folder"
    (parent,) = [r for r in runs_of(sqlite_address(moved / "mlflow.db"), "search") if "presyn_parent" in r.data.tags]
    assert parent.info.artifact_uri.startswith((moved / "mlartifacts").as_uri())
    assert {a.path for a in MlflowClient(sqlite_address(moved / "mlflow.db")).list_artifacts(parent.info.run_id)} >= {
        "best.yaml"
    }


def test_a_kill_while_the_database_is_made_leaves_none(home):
    path = home / ".presyn" / "mlflow.db"
    path.unlink()
    words = [sys.executable, "-m", "pipeline.cli", "sync-mlflow"]
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, start_new_session=True)
    until = time.monotonic() + 120
    while not list(path.parent.glob(".mlflow.db.partial-*")) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(path.parent.glob(".mlflow.db.partial-*")) and not path.exists()
    assert main(["sync-mlflow"]) == 0 and not what_is_wrong(path)
    assert not list(path.parent.glob(".mlflow.db.partial-*")), "nothing of the killed process stays"


def test_with_json_stdout_is_the_object_and_nothing_else(home, capsys, monkeypatch):
    told = Writer.write
    monkeypatch.setattr(Writer, "write", lambda self, row: (print("View run at http://..."), told(self, row))[1])
    assert main([*ONE, "--json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["runs"]) == 1 and "View run" in captured.err


def test_a_command_that_names_a_password_is_kept_without_it(home):
    at = Workspace.open(command=f"presyn run --mlflow http://ada:{SECRET}@host")
    assert SECRET not in at.command and "http://***@host" in at.command


def test_notes_that_are_damaged_in_any_way_are_set_aside(home, own, capsys):
    store = Store(home / ".presyn")
    note = Note("search", "s", "a sweep", [RUN.run_id("sha")])
    for n, wrong in enumerate(
        ({"run_ids": "id0"}, {"metrics": {"a": "b"}}, {"labels": {"a": 1}}, {"table": 3}, {"files": [1]})
    ):
        with pytest.raises(TypeError):
            replace(note, **wrong)
        store.write(store.stages / f"search-{n}.json", json.dumps({**note.__dict__, **wrong}))
    assert sync(store, own)
    assert capsys.readouterr().err.count("is set aside") == 5 and not list(store.stages.glob("*.json"))


def test_an_id_that_was_left_empty_is_made_again(home):
    store = Store(home / "x")
    (home / "x" / "id").write_text("")
    assert len(store.id) == 12 and not list((home / "x").glob(".id-*"))


def test_names_with_an_apostrophe_and_numbers_that_fall_are_written(home, own):
    store = Store(home / ".presyn")
    for value in (0.9, 0.5, 0.5):
        note = Note("search", "search/bob's", "Search bob's", [], metrics={"best": value})
        tracker = Writer(own, store, note)
        tracker.finish()
    (run,) = runs_of(own, "search")
    assert run.data.metrics["best"] == 0.5 and run.info.run_name == "Search bob's"


def test_a_table_that_changed_is_shown_as_it_is(home, own, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    table = tmp_path / "table.csv"
    for n in (1, 2, 3):
        table.write_text("a,b\n" + f"{n},\n" * n)
        note = Note("table1", "t", "a table", [], files=[str(table)], table=str(table))
        Writer(own, Store(home / ".presyn"), note).finish()
    (run,) = runs_of(own, "table1")
    assert MlflowClient(own).load_table(run.info.experiment_id, "table.json", [run.info.run_id]).a.tolist() == [3, 3, 3]


def test_a_row_that_is_written_again_while_it_is_written_comes_once_more(home, own, monkeypatch):
    from pipeline.records.mlflow.background import BackgroundWriter

    store, started, go = Store(home / ".presyn"), threading.Event(), threading.Event()
    told = []

    def slow(self, row):
        told.append(row.run_id)
        started.set()
        assert go.wait(60)

    monkeypatch.setattr(Writer, "write", slow)
    tracking, row = BackgroundWriter(own, store), row_of(store)
    tracking.write(row)
    assert started.wait(60)
    tracking.write(row)
    go.set()
    assert tracking.close(60) and told == [row.run_id] * 2


def test_pages_of_a_database_of_noise_are_refused_in_one_line(home, capsys):
    (home / "noise.db").write_bytes(os.urandom(3000))
    assert main(["mlflow-ui", "--mlflow", sqlite_address(home / "noise.db"), "--port", "5959"]) == 1
    assert "cannot be opened (its database is damaged or half made)" in capsys.readouterr().err


def test_an_own_id_is_the_stores_for_ever(home):
    assert Store(home / "x").id == Store(home / "x").id != Store(home / "y").id
    store = Store(home / "z")
    shutil.rmtree(home / "z")
    (home / "z").write_text("in the way")
    with pytest.raises(PresynError, match="cannot be written"):
        _ = store.id
