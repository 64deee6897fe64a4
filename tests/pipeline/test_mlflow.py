"""What MLflow's users rely on: what others and people wrote stays, no password is shown, each trouble has its remedy."""

import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.cli import main
from pipeline.cli.pages import latest_table
from pipeline.records.mlflow import server
from pipeline.records.mlflow.background import BackgroundWriter
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
        (f"ada:{SECRET}@host:5000", "is no tracking server"),
        (f"http:/ada:{SECRET}@host:5000", "is no address"),
        (f"//ada:{SECRET}@host:5000", "is no tracking server"),
        (f"hostname?api_key={SECRET}", "is no tracking server"),
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
    for word in (
        "ann:PW@host:5000",
        "http:/ann:PW@host",
        "//ann:PW@host/x",
        "http//ann:P/W@host",
        "http:ann:PW@host",
        "x?api_key=PW",
    ):
        assert "PW" not in hide_passwords(f"--mlflow {word} is none") and "P/W" not in hide_passwords(word), hide_passwords(
            word
        )
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


DRIP = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
BUSY = b"HTTP/1.1 %d Wait\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ODD = {
    "503": (BUSY % 503, BUSY % 503, "too many 503"),
    "429": (BUSY % 429, BUSY % 429, "too many 429"),
    "503 to its calls": (HEALTHY, BUSY % 503, "too many 503"),
    "drips": (DRIP, DRIP, "no whole answer within"),
    "drips to its calls": (HEALTHY, DRIP, "no whole answer within"),
    "drips headers": (DRIP[:20], DRIP[:20], "did not answer"),
    "drips headers to its calls": (HEALTHY, DRIP[:20], "no whole answer within"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "did not answer"),
    "no HTTP to its calls": (HEALTHY, b"\x00\xff\x15\x03\x01 no\r\n\r\n", "not MLflow"),
    "closes": (b"", b"", "did not answer"),
    "closes on its calls": (HEALTHY, b"", ""),
    "leads in a circle": (HEALTHY, b"HTTP/1.1 302 No\r\nLocation: /api\r\nContent-Length: 0\r\n\r\n", ""),
}
"""What a server answers when it is asked for its health, what to the calls of MLflow, and what is said of it."""


@pytest.fixture
def odd(request):
    """A server that misbehaves; answers that do not end are sent a byte at a time."""
    health, calls, _ = ODD[request.param]
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            asked = connection.recv(65536)
            connection.sendall(reply := health if b" /health" in asked else calls)
            while reply in (DRIP, DRIP[:20]) and not ended.wait(0.1):
                connection.sendall(b" " if reply == DRIP else b"x")

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", ODD[request.param][2]
    ended.set()
    listener.close()


@pytest.fixture
def soon(monkeypatch):
    """Waits that are short."""
    monkeypatch.setattr(server, "CALL_SECONDS", 2.0)
    monkeypatch.setattr(server, "PROBE_SECONDS", 1.0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


@pytest.mark.parametrize("odd", ODD, indirect=True)
def test_every_wait_for_a_server_that_misbehaves_has_an_end_and_a_line(home, odd, soon, capsys):
    uri, words = odd
    row_of(Store(home / ".presyn"))
    began = time.monotonic()
    for command in (["sync-mlflow"], ["remove", RUN.run_id("sha"), "--yes"]):
        assert main([*command, "--mlflow", uri]) == (command == ["sync-mlflow"])
        said = capsys.readouterr()
        told = said.err if command == ["sync-mlflow"] else said.out.splitlines()[-1]
        assert told.count("\n") <= 1 and words in told and "Traceback" not in told, told
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("odd", ["429", "drips to its calls"], indirect=True)
def test_results_are_printed_before_a_server_that_misbehaves_is_waited_for(home, odd, soon, capsys, monkeypatch):
    said, close = [], BackgroundWriter.close
    monkeypatch.setattr(BackgroundWriter, "close", lambda self: (said.append(capsys.readouterr()), close(self))[1])
    assert main([*ONE, "--json", "--mlflow", odd[0]]) == 0
    said.append(capsys.readouterr())
    assert len(json.loads(said[0].out)["runs"]) == 1 and not said[1].out
    told = said[0].err + said[1].err
    assert told.count("is not written") == 1 and odd[1] in told and "Traceback" not in told, told


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody signed, and its key, as files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    for extension in (
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
        x509.BasicConstraints(ca=True, path_length=None),
    ):
        built = built.add_extension(extension, critical=extension.oid == x509.BasicConstraints.oid)
    signed = built.sign(key, hashes.SHA256())
    folder = tmp_path_factory.mktemp("tls")
    (folder / "own.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "own.key").write_bytes(key.private_bytes(*form))
    return folder / "own.pem", folder / "own.key"


@pytest.mark.parametrize(
    "trust", ["MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", ""]
)
def test_a_server_with_a_certificate_of_its_own_is_reached(home, web, certificate, trust, monkeypatch, capsys):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    web.status, web.body = 401, b"You are not authenticated."
    if trust:
        monkeypatch.setenv(trust, "true" if "INSECURE" in trust else str(certificate[0]))
    row_of(Store(home / ".presyn"))
    assert main(["sync-mlflow", "--mlflow", f"https://127.0.0.1:{web.server_port}"]) == 1
    told = capsys.readouterr().err
    words = "it wants a user and a password" if trust else "its certificate or its protocol is not what https expects"
    assert words in told and told.count("\n") == 1, told
    assert any("api" in path for path, _ in web.asked) == bool(trust)


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


LOST = [
    *[f"DELETE FROM {table}" for table in ("params", "latest_metrics", "inputs", "datasets")],
    *[f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})" for table in ("params", "latest_metrics", "runs")],
    "UPDATE params SET value = 'changed' WHERE key = 'eta0'",
    "UPDATE params SET key = 'changed' WHERE key = 'eta0'",
    "UPDATE latest_metrics SET value = 0.9 WHERE key = 'mean_accuracy'",
    "UPDATE latest_metrics SET key = 'changed' WHERE key = 'mean_accuracy'",
    "UPDATE tags SET value = 'changed' WHERE key = 'seed'",
    "DELETE FROM tags WHERE key = 'git_commit'",
    "UPDATE runs SET status = 'FAILED'",
    "UPDATE datasets SET digest = 'changed'",
]


def content_of(uri):
    """What the runs of an experiment hold, by their rows; without times and courses."""
    return {
        run.data.tags["run_id"]: (
            run.info.status,
            run.data.params,
            run.data.metrics,
            {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")},
            "sha" in {entry.dataset.digest for entry in run.inputs.dataset_inputs},
        )
        for run in runs_of(uri, "search")
        if "run_id" in run.data.tags
    }


def test_sync_writes_again_what_a_database_has_lost_and_says_what_it_did_not_look_at(home, own, capsys):
    store = Store(home / ".presyn")
    row = row_of(store)
    Note("search", "s", "a sweep", [row.run_id]).save(store)
    assert main(["sync-mlflow"]) == 0
    whole = content_of(own)
    assert len(whole) == 1 and whole[row.run_id][4] and whole[row.run_id][2]["mean_accuracy"] == 0.8
    for damage in LOST:
        with contextlib.closing(sqlite3.connect(home / ".presyn" / "mlflow.db")) as database:
            database.execute(damage)
            database.commit()
        assert content_of(own) != whole, damage
        capsys.readouterr()
        assert main(["sync-mlflow"]) == 0
        assert content_of(own) == whole, damage
        assert "Not looked at: earlier values, times, files." in capsys.readouterr().out


@pytest.mark.parametrize("statements", ["DROP TABLE {}", "DELETE FROM {}"])
def test_a_database_that_lost_tables_is_named_and_made_again(home, own, capsys, statements):
    store, path = Store(home / ".presyn"), home / ".presyn" / "mlflow.db"
    Note("search", "s", "a sweep", [row_of(store).run_id]).save(store)
    assert main(["sync-mlflow"]) == 0
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    content = path.read_bytes()
    for table in ("tags", "metrics") if "DELETE" in statements else sorted(set(tables) - {"sqlite_sequence"}):
        path.write_bytes(content)
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA foreign_keys = OFF")
            database.execute(statements.format(f'"{table}"'))
            database.commit()
        assert what_is_wrong(path), table
    capsys.readouterr()
    assert main(["sync-mlflow"]) == 0
    assert "set aside as mlflow.damaged" in capsys.readouterr().err and len(runs_of(own, "search")) == 2


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
    theirs = MlflowClient(sqlite_address(home / ".presyn" / "mlflow.db"))
    theirs.create_experiment("elsewhere", artifact_location="s3://bucket/mlartifacts/7")
    theirs.create_run(theirs.create_experiment("theirs", artifact_location=(home / ".presyn/mlartifacts/theirs").as_uri()))
    moved = home / "a b#c%20?d"
    (home / ".presyn").rename(moved)
    Path("link").symlink_to(moved)
    for store in ("link", "a b#c%20?d"):
        command = [sys.executable, "-m", "pipeline.cli", *words, "--store", store]  # MLflow remembers places in a process
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, check=True)
    Path("link").unlink()
    assert sorted(p.name for p in home.iterdir()) == ["a b#c%20?d", "out"], "all of it is in the one folder"
    client = MlflowClient(sqlite_address(moved / "mlflow.db"))
    places = {e.name: e.artifact_location for e in client.search_experiments()}
    assert places["elsewhere"] == "s3://bucket/mlartifacts/7"
    assert (
        places["theirs"] == f"{(moved / 'mlartifacts').as_uri()}/theirs"
        and len(runs_of(sqlite_address(moved / "mlflow.db"), "theirs")) == 1
    )
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


def test_a_file_that_mlflow_does_not_take_holds_up_no_other_and_its_parent_ends(home, own, capsys, monkeypatch):
    """As with a server that passes no artifacts on, or a file that is not what it was."""
    from mlflow import MlflowClient as Client

    store, log = Store(home / ".presyn"), Client.log_artifact
    for name in ("a.csv", "b.csv", "c.csv"):
        Path(name).write_text("a\n1\n")
    files = [str(Path(name).absolute()) for name in ("a.csv", "b.csv", "c.csv")]

    def refuse_b(self, run_id, path, folder=None):
        if path.endswith("b.csv"):
            raise MlflowException("The artifact service is disabled")
        log(self, run_id, path, folder)

    monkeypatch.setattr(Client, "log_artifact", refuse_b)
    Path("t.csv").write_bytes(b"\xff\xfe")
    for name, table in (("first", "t.csv"), ("second", None)):
        note = Note("table1", name, name, [], metrics={"m": 1.0}, files=files, table=table and str(Path(table).absolute()))
        note.save(store)
    assert main(["sync-mlflow"]) == 0
    told = capsys.readouterr().err
    assert "b.csv, t.csv of first not put into MLflow (The artifact service is disabled); its numbers are there." in told
    runs = runs_of(own, "table1")
    assert {r.info.status for r in runs} == {"FINISHED"} and all(r.data.metrics == {"m": 1.0} for r in runs)
    assert all({a.path for a in MlflowClient(own).list_artifacts(r.info.run_id)} == {"a.csv", "c.csv"} for r in runs)


def test_what_mlflow_has_against_one_stage_holds_up_no_other(home, own, capsys):
    store = Store(home / ".presyn")
    row = row_of(store)
    Note("odd", "odd", "odd", [row.run_id], params={"a(b)": 1}, labels={row.run_id: {"p (drop)": "x"}}).save(store)
    Note("whole", "whole", "whole", [row.run_id]).save(store)
    MlflowClient(own).create_experiment("gone")
    MlflowClient(own).delete_experiment(MlflowClient(own).get_experiment_by_name("gone").experiment_id)
    Note("gone", "gone", "gone", [row.run_id]).save(store)
    for _ in range(2):
        assert main(["sync-mlflow"]) == 1
        told = capsys.readouterr().err
        assert (
            told.count("is not written to MLflow") == 2
            and "its experiment gone was deleted" in told
            and "Traceback" not in told
        )
        assert [r.info.status for r in runs_of(own, "whole")] == ["FINISHED"] * 2


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
