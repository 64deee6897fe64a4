"""The process that speaks to Ray: what ends it ends no other process, and nothing of it stays. A script stands in for Ray."""

import os
import socket
import subprocess
import sys
import time

import pytest

from presyn import PresynError
from sweeps import execute
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, find, ray_process
from sweeps.cluster.ray_process import RayLost, RayProcess, session_members
from sweeps.execute import train_in_process, train_on_cluster

STAND_IN = """
import os, pickle, subprocess, sys, time
def say(*message):
    pickle.dump(message, sys.stdout.buffer); sys.stdout.buffer.flush()
subprocess.Popen(["sleep", "1000"], preexec_fn=os.setpgrp)  # as Ray starts servers, which stay when it is killed
say("ready", None); say("joined", None)
while True:
    name, *rest = pickle.load(sys.stdin.buffer)
    if name == "nodes":
        say("nodes", [{"CPU": 2.0}])
    if name == "train":
        for kind in rest[0]["says"]:
            if kind == "die":
                os.kill(os.getpid(), 11)
            say(kind, "its content")
        time.sleep(1000)
"""


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Starts a process in which a script stands in for Ray, at an address or on this machine."""
    popen = subprocess.Popen

    def script(command, **how):
        return popen([sys.executable, "-c", STAND_IN, command[-1]] if "-P" in command else command, **how)

    monkeypatch.setattr(ray_process.subprocess, "Popen", script)
    started = []

    def start(address="local", say=lambda line: None):
        started.append(RayProcess(Cluster(ray_address=address), tmp_path / "logs" / "ray.log", say))
        return started[-1]

    yield start
    for process in started:
        process.close(kill=True)
        assert not list(session_members(process.process.pid)) and not process.folder.exists()


@pytest.fixture
def head():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address_of(server):
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_what_was_started_ends_with_it_and_its_folder_goes(start):
    process = start()
    while len(list(session_members(process.process.pid))) < 2:
        time.sleep(0.01)
    process.close()
    process.close()  # the second time does nothing
    assert not list(session_members(process.process.pid)) and not process.folder.exists()


def test_a_crash_is_an_error_here_and_nothing_stays(start):
    process, heard = start(), []
    with pytest.raises(RayLost, match="Ray ended .more in .*ray.log"):
        process.train({"says": ["line", "here", "steps", "die"]}, lambda *message: heard.append(message))
    assert heard == [("line", "its content"), ("steps", "its content")] and not process.is_alive


def test_a_head_that_is_gone_is_an_error_here_and_ends_no_process(start, head, monkeypatch):
    monkeypatch.setattr(ray_process, "AWAY_SECONDS", 0.0)
    said = []
    process = start(address_of(head), said.append)
    assert said[0] == f"joining Ray at {address_of(head)}"
    assert said[1] == f"joined Ray at {address_of(head)}: 1 node, 2 CPUs. Should it end, the same command goes on."
    head.close()
    with pytest.raises(PresynError, match="is gone: its head does not answer.*run the same command again: it goes on") as e:
        process.train({"says": []}, lambda *message: None)
    assert not isinstance(e.value, RayLost) and not process.is_alive


def test_what_fails_and_what_is_lost_are_told_apart(start):
    for kind, error in (("failed", PresynError), ("lost", RayLost)):
        with pytest.raises(PresynError) as e:
            start().train({"says": [kind]}, lambda *message: None)
        assert type(e.value) is error and str(e.value) == "its content"


def test_an_error_while_a_result_is_stored_ends_training(start):
    process = start()

    def full(*message):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        process.train({"says": ["ended"]}, full)
    assert not process.is_alive


def test_an_address_where_nothing_answers_is_told_before_ray_tries(start, head):
    address = address_of(head)
    head.close()
    with pytest.raises(PresynError, match=f"could not be reached or started at {address}"):
        start(address)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_of_this_process_leaves_it_alone(start):
    process = start()
    if os.fork() == 0:
        process.close(kill=True)
        os._exit(0)
    os.wait()
    assert process.is_alive and process.folder.exists()


def test_which_ray_is_joined_is_said_before_it_is_tried(start, head, monkeypatch):
    said = []
    monkeypatch.setattr(ray_process, "find_cluster", lambda address: find.Place(address_of(head), "runs on this node"))
    start(None, said.append)
    assert said[0] == f"joining Ray at {address_of(head)}, which runs on this node (--ray-address local starts another)"


class Losing:
    """A Ray that is lost so many times, with so many runs trained before each, and then trains the rest."""

    place = None

    def __init__(self, times, trained):
        self.times, self.trained = times, trained

    def train(self, work, heard):
        members = work["members"][: self.trained if self.times else None]
        scratch = Checkpoints(work["checkpoints"].folder / "of workers", "s")
        ended = train_in_process(
            {m.run_id: m.run for m in members}, scratch, Cluster(), lambda *end: heard("ended", end), print
        )
        self.times -= 1
        if self.times >= 0:
            raise RayLost("Ray failed: its raylet died")
        return ended or {}


@pytest.mark.parametrize(("times", "trained", "ends"), [(2, 1, 3), (3, 0, 3), (9, 0, 0)])
def test_what_ray_loses_goes_on_by_itself_while_that_helps(runs, tmp_path, monkeypatch, times, trained, ends):
    losing, said, ended = Losing(times, trained), [], []
    monkeypatch.setattr(execute, "ray_process", lambda *arguments: losing)
    monkeypatch.setattr(execute, "PAUSES", (0.0, 0.0, 0.0))

    def train():
        checkpoints = Checkpoints(tmp_path, "s")
        arguments = (lambda i, r, p: ended.append(i), print, tmp_path / "log", said.append)
        train_on_cluster(dict(runs), checkpoints, Cluster(), lambda run: 1.0, *arguments)

    if ends:
        train()
        assert len(said) == times
    else:
        with pytest.raises(PresynError, match="3 runs came to no end: Ray failed: its raylet died. The same command goes on"):
            train()
    assert len(ended) == len(set(ended)) == ends
    assert set(said) == {"Ray failed: its raylet died. What it trained goes on from its checkpoints."}
