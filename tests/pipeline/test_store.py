"""The store: whole files or none, one writer, and clear words when something is wrong."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline.records.store
from pipeline.cli.progress import describe_progress
from pipeline.records.files import write_whole
from pipeline.records.store import Store, code_version
from presyn import PresynError, Record, make_run

RUN = make_run("sgd", "permuted-digits", 1)
ID = RUN.run_id("sha")
RECORD = Record(status="finished", accuracy=[[0.5] * 5], loss=[1.0], seconds=[1.0], ended=[2.0]).as_dict()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_a_row_carries_configuration_and_provenance(store):
    row = store.put(ID, RUN, "sha", RECORD, {"host": "h", "device": "cpu"})
    assert store.get(ID) == row and row.as_dict() == json.loads((store.results / f"{ID}.json").read_text())
    assert row.config == RUN.config() and row.mean_accuracy == 0.5
    known = {"git_commit", "git_dirty", "rules_version", "data_sha256", "torch", "numpy", "python", "host", "device"}
    assert known <= row.provenance.keys()


@pytest.mark.parametrize("damage", ["", '{"run_id": "abc", "sta', "[]", '{"run_id": "other", "status": "finished"}'])
def test_a_half_written_result_is_set_aside_and_said(store, capsys, damage):
    store.put(ID, RUN, "sha", RECORD, {})
    (store.results / f"{ID}.json").write_text(damage)
    assert store.get(ID) is None
    assert f"{ID}.json was damaged" in capsys.readouterr().err
    assert (store.results / f"{ID}.damaged").exists() and store.ids() == []


def test_a_damaged_result_in_a_store_that_cannot_be_written_counts_as_none(store, monkeypatch, capsys):
    store.put(ID, RUN, "sha", RECORD, {})
    path = store.results / f"{ID}.json"
    path.write_text("")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
    assert store.get(ID) is None and "counts as no run" in capsys.readouterr().err
    assert path.exists()


def test_a_crash_while_writing_leaves_no_result(store, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.put(ID, RUN, "sha", RECORD, {})
    assert store.get(ID) is None and store.ids() == []


def test_a_store_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PresynError, match=r"store .*file/store cannot be written \(Not a directory\).*--store"):
        Store(tmp_path / "file" / "store")


def test_a_full_disk_is_named_and_loses_nothing(store):
    store.put(ID, RUN, "sha", RECORD, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a full disk does, this fails the write
    try:
        with pytest.raises(PresynError, match="cannot be written.*run the same command again"):
            store.put("second", RUN, "sha", RECORD, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.ids() == [ID] and store.get(ID)
    assert [p.name for p in store.results.iterdir()] == [f"{ID}.json"], "no partial file is left"


HOLD = """
import sys; from pathlib import Path; from pipeline.records.store import Store, code_version
with Store(Path(sys.argv[1])).locked("presyn search"):
    print("held", flush=True); sys.stdin.read()
"""


def test_a_second_driver_says_who_holds_the_store(store):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(PresynError, match=rf"in use by 'presyn search' \(process {holder.pid} on .*--wait"), store.locked("x"):
        pass
    holder.kill()  # a killed driver holds nothing
    holder.wait()
    holder.stdin.close(), holder.stdout.close()
    with store.locked("x"):
        pass


def test_how_far_a_store_is_that_may_only_be_read(store, monkeypatch):
    with store.locked("presyn search"):

        def refuse(*arguments, **options):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr("pipeline.cli.progress.file_lock", refuse)
        assert any("in use by 'presyn search'" in line for line in describe_progress(store))


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "real.csv").write_text("before")
    (tmp_path / "link.csv").symlink_to("real.csv")
    write_whole(tmp_path / "link.csv", "after")
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "real.csv").read_text() == "after"


def test_the_commit_is_that_of_the_start_and_not_of_the_first_result(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(pipeline.records.store, "code_version", lambda: asked.append(1) or {})
    Store(tmp_path)
    assert asked, "it is cached, so that the first call decides"


def test_uncommitted_changes_are_seen(monkeypatch):
    asked = {}

    def run(words, cwd, **options):
        asked[words[1]] = cwd
        return subprocess.CompletedProcess(words, 0, " M presyn/runs.py" if words[1] == "status" else "c0ffee")

    monkeypatch.setattr(subprocess, "run", run)
    version = code_version.__wrapped__()
    assert version["git_dirty"] and version["git_commit"] == "c0ffee"
    assert all((asked["status"] / room).is_dir() for room in ("presyn", "sweeps", "pipeline"))  # git's paths start there
