"""An MLflow server that is away, slow, broken or emptied: training goes on, and in the end MLflow has every run once."""

import base64
import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import COMMAND
from nodes import ROOT, until


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A tracking server, which takes long to start; returns its port. Each test has runs of its own there, by its seed."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    until(lambda: answers(port), seconds=180)
    yield port
    os.killpg(process.pid, 9)
    process.wait()


class Proxy:
    """Stands before the server: away, slow, broken, or through; counts what it passes on."""

    def __init__(self, target):
        self.port, self.target, self.mode, self.requests = free_port(), target, "through", []
        self.http, self.password = None, ""

    def start(self):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.requests.append((self.command, self.path))
                refused = proxy.password and self.headers.get("Authorization") != proxy.password
                if proxy.mode == "slow":
                    time.sleep(1)
                if refused:
                    status, headers, content = 401, [], b"You are not authenticated."
                elif proxy.mode == "broken":
                    status, headers, content = 500, [], b"{}"
                else:
                    there = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=60)
                    there.request(self.command, self.path, body, dict(self.headers))
                    answer = there.getresponse()
                    status, headers, content = answer.status, answer.getheaders(), answer.read()
                    there.close()
                self.send_response(status)
                for name, value in headers:
                    if name.lower() in ("content-type",):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on

            def log_message(self, *words):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self):
        if self.http:
            self.http.shutdown()
            self.http.server_close()
            self.http = None


@pytest.fixture
def proxy(server):
    made = Proxy(server)
    yield made
    made.stop()


@pytest.fixture
def presyn(home, proxy):
    """Starts a command that writes to the proxy."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PRESYN_", "MLFLOW_"))}
    env |= {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{proxy.port}", "PYTHONPATH": str(ROOT)}
    started = []

    def start(words):
        command = [sys.executable, "-m", "pipeline.cli", *words.split()]
        with (home.folder / f"log{len(started)}").open("w") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=home.folder))
        return started[-1]

    start.env = env
    yield start
    for process in started:
        process.kill()
        process.wait()


def said(home, number=0):
    return (home.folder / f"log{number}").read_text()


def uri(proxy):
    return f"http://127.0.0.1:{proxy.target}"


@pytest.mark.parametrize("home", [(3, 250)], indirect=True)
def test_away_at_the_start_gone_and_back(home, proxy, presyn):
    driver = presyn(COMMAND)
    until(lambda: "is not written" in said(home))
    proxy.start()  # it is looked for again within half a minute
    until(lambda: "is written again" in said(home))
    proxy.stop()
    until(lambda: len(home.rows()) >= 4)
    proxy.start()
    assert driver.wait(timeout=300) == 0, said(home)
    if "is not written" in said(home).rpartition("is written again")[2]:  # it came back after the command's last try
        assert presyn("sync-mlflow").wait(timeout=120) == 0
    home.check(uri=uri(proxy))


@pytest.mark.parametrize("home", [(4, 8)], indirect=True)
def test_slow_answers_hold_up_no_training(home, proxy, presyn):
    proxy.mode = "slow"
    proxy.start()
    driver = presyn(COMMAND)
    until(lambda: len(home.rows()) == 6, seconds=180)
    assert driver.wait(timeout=300) == 0, said(home)
    home.check(uri=uri(proxy))


@pytest.mark.parametrize("home", [(5, 8)], indirect=True)
def test_errors_of_the_server_lose_nothing(home, proxy, presyn):
    proxy.mode = "broken"
    proxy.start()
    assert presyn(COMMAND).wait(timeout=300) == 0, said(home)
    assert said(home).count("is not written") == 1 and "presyn sync-mlflow" in said(home) and "Traceback" not in said(home)
    proxy.mode = "through"
    assert presyn("sync-mlflow").wait(timeout=120) == 0, said(home, 1)
    home.check(uri=uri(proxy))


@pytest.mark.parametrize("home", [(6, 8)], indirect=True)
def test_at_most_four_requests_for_each_run(home, proxy, presyn):
    proxy.start()
    assert presyn(COMMAND).wait(timeout=300) == 0, said(home)
    home.check(uri=uri(proxy))
    of_runs = [
        p for _, p in proxy.requests if any(w in p for w in ("runs/create", "runs/log-batch", "runs/log-inputs", "runs/update"))
    ]
    assert len(of_runs) <= 4 * 6 + 8, proxy.requests  # the parent's are beside them, and do not grow with the runs
    assert len(proxy.requests) <= 4 * 6 + 40


@pytest.mark.parametrize(("home", "way"), [((7, 8), "address"), ((8, 8), "variables")], indirect=["home"])
def test_a_server_with_a_password_is_written_and_the_password_is_nowhere(home, proxy, presyn, way):
    proxy.password = "Basic " + base64.b64encode(b"ada:s3cret@word").decode()
    proxy.start()
    assert presyn(COMMAND).wait(timeout=300) == 0, said(home)
    assert said(home).count("it wants a user and a password") == 1 and len(home.rows()) == 6
    if way == "address":
        words = f"sync-mlflow --mlflow http://ada:s3cret%40word@127.0.0.1:{proxy.port}"
    else:
        words = "sync-mlflow"
        presyn.env |= {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "s3cret@word"}
    assert presyn(words).wait(timeout=120) == 0, said(home, 1)
    assert presyn(f"{COMMAND} {words.removeprefix('sync-mlflow')}").wait(timeout=300) == 0, said(home, 2)
    home.check(uri=uri(proxy))
    files = [p for p in home.folder.rglob("*") if p.is_file() and not p.is_symlink()]
    assert not [p for p in files if b"s3cret" in p.read_bytes()]


def test_a_database_that_was_emptied_is_rebuilt(home):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def presyn(words):
        return subprocess.run([sys.executable, "-m", "pipeline.cli", *words.split()], env=env, cwd=home.folder, timeout=300)

    assert presyn(COMMAND).returncode == 0
    home.check()
    (home.store / "mlflow.db").unlink()
    shutil.rmtree(home.store / "mlartifacts")
    for _ in range(2):
        assert presyn("sync-mlflow").returncode == 0
        home.check()
