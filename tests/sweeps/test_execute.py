"""Execution without Ray: checkpoints, and going on from whatever a killed session left behind."""

import threading

import numpy as np
import pytest
import torch

from presyn import Cohort, PresynError, load, make_run
from presyn.device import memory_needed
from sweeps.checkpoints import FILES_KEPT, Checkpoints, forget_files, read_file, segments_in_name
from sweeps.cluster import Cluster
from sweeps.execute import train_in_process
from sweeps.packing import Member
from sweeps.train_cohort import resume_cohort, resume_run

CPU = torch.device("cpu")
SETTINGS = {"epochs": 1, "tasks": 3, "hidden": [16]}


@pytest.fixture
def runs():
    return {f"id{s}": make_run("presynaptic", "permuted-digits", s, SETTINGS) for s in range(3)}


def finish(runs, checkpoints):
    records = {}
    train_in_process(runs, checkpoints, Cluster(), lambda i, record, place: records.update({i: record}), lambda steps: None)
    return records


def outcomes(records):
    return {i: (r["status"], r["accuracy"], r["loss"]) for i, r in sorted(records.items())}


def interrupted(runs, checkpoints, segments):
    """A session that was killed after so many parts."""
    cohort = Cohort(list(runs.values()), load("digits"), CPU)
    checkpoints.open()
    for _ in range(segments):
        cohort.train_segment()
        checkpoints.save(dict(zip(runs, cohort.save(), strict=True)), list(runs))


def test_another_session_goes_on_from_the_last_part_and_ends_alike(runs, tmp_path):
    whole = finish(runs, Checkpoints(tmp_path / "a", "s"))
    interrupted(runs, Checkpoints(tmp_path / "b", "killed"), 2)
    second = Checkpoints(tmp_path / "b", "second")
    assert {resume_run(i, r, second)[0].segments for i, r in runs.items()} == {2}
    assert outcomes(finish(runs, second)) == outcomes(whole)


def test_members_that_were_killed_one_part_apart_end_alike(runs, tmp_path):
    whole = finish(runs, Checkpoints(tmp_path / "a", "s"))
    killed = Checkpoints(tmp_path / "b", "killed")
    interrupted(runs, killed, 1)
    interrupted(dict(list(runs.items())[:1]), killed, 2)
    assert outcomes(finish(runs, Checkpoints(tmp_path / "b", "second"))) == outcomes(whole)


def test_a_damaged_checkpoint_costs_one_part(runs, tmp_path):
    killed = Checkpoints(tmp_path, "killed")
    interrupted(runs, killed, 2)
    newest = killed.paths("id0")[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert read_file(newest) is None
    assert resume_run("id0", runs["id0"], killed)[0].segments == 1


def test_a_result_that_the_killed_driver_did_not_store_is_not_trained_again(runs, tmp_path):
    finish(runs, Checkpoints(tmp_path, "killed"))  # the worker checkpoints the end before the driver hears of it
    member, record = resume_run("id1", runs["id1"], Checkpoints(tmp_path, "second"))
    assert record is not None and record["status"] == "finished" and member.segments == 3


def test_sessions_write_apart_and_keep_two_parts(runs, tmp_path):
    interrupted(runs, Checkpoints(tmp_path, "one"), 3)
    names = [p.name for p in (tmp_path / "one").iterdir()]
    assert len(names) == FILES_KEPT and {segments_in_name(tmp_path / n) for n in names} == {2, 3}, (
        "one file of all for each part"
    )
    before = sorted((tmp_path / "one").iterdir())
    interrupted(runs, Checkpoints(tmp_path, "two"), 1)
    assert sorted((tmp_path / "one").iterdir()) == before
    whole = {i: read_file(paths[0])[i] for i, paths in Checkpoints(tmp_path, "two").index().items()}
    Checkpoints(tmp_path, "two").remove("id0")
    index = Checkpoints(tmp_path, "two").index()
    assert sorted(index) == ["id1", "id2"], "the others of its cohort stay"
    for run_id, (newest, *_) in index.items():
        state = read_file(newest)[run_id]["state"]
        assert all(torch.equal(state[name], t) for name, t in whole[run_id]["state"].items())
    Checkpoints(tmp_path, "two").remove("id1", "id2")
    assert not list(tmp_path.glob("*/*.pt"))


def test_a_worker_that_is_restarted_goes_on_from_its_own_session(runs, tmp_path):
    mine = Checkpoints(tmp_path, "mine")
    interrupted(runs, mine, 2)
    finished = Cohort([runs["id2"]], load("digits"), CPU)
    while not finished.done:
        finished.train_segment()
    mine.save({"id2": {"record": finished.records[0].as_dict() | {"status": "finished"}, "state": None}})
    going, ended = resume_cohort([Member(i, r) for i, r in runs.items()], mine)
    assert [(m.run_id, m.segments) for m in going] == [("id0", 2), ("id1", 2)]
    assert [i for i, _ in ended] == ["id2"]


def test_a_node_that_does_not_share_the_store_says_so(tmp_path):
    driver = Checkpoints(tmp_path / "store", "s")
    driver.open()
    driver.check_shared()
    with pytest.raises(PresynError, match="not shared with this node.*PRESYN_STORE"):
        Checkpoints(tmp_path / "elsewhere", "s").check_shared()


def test_who_ended_is_not_trained_again_when_a_worker_dies(runs, tmp_path):
    mine = Checkpoints(tmp_path, "mine")
    ended = finish(runs, mine)  # the driver has stored these; their end markers stay until the stage ends
    going, again = resume_cohort([Member(i, r) for i, r in runs.items()], mine)
    assert not going and dict(again) == ended


def test_a_checkpoint_that_vanished_costs_a_part_and_not_the_cohort(runs, tmp_path):
    killed = Checkpoints(tmp_path, "killed")
    interrupted(runs, killed, 2)
    members = [resume_run(i, r, killed)[0] for i, r in runs.items()]
    members[0].checkpoint.unlink()
    going, _ = resume_cohort(members, killed)
    assert [m.segments for m in going] == [1, 1, 1]


def test_a_cohort_without_memory_goes_on_in_halves_from_its_last_part(runs, tmp_path, monkeypatch):
    expected = finish(runs, Checkpoints(tmp_path / "plenty", "s"))
    trained, limit = [], 2
    part = Cohort.train_segment

    def train_segment(cohort, tick):
        if len(cohort.runs) >= limit and cohort.segment == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        part(cohort, tick)
        trained.append((len(cohort.runs), cohort.segment))

    monkeypatch.setattr(Cohort, "train_segment", train_segment)
    got = finish(runs, Checkpoints(tmp_path / "scarce", "s"))
    assert outcomes(got) == outcomes(expected)
    # The first part is trained once by all; nothing of it again.
    assert trained == [(3, 1), *[(1, p) for _ in range(3) for p in (2, 3)]]
    limit = 1
    with pytest.raises(PresynError, match="one network of permuted-digits does not fit into the memory of cpu"):
        finish(runs, Checkpoints(tmp_path / "none", "s"))


def test_a_cohort_is_as_large_as_free_memory_allows(runs, tmp_path, monkeypatch):
    each = memory_needed(runs["id0"], load("digits"))
    monkeypatch.setattr("sweeps.train_cohort.usable_memory", lambda device, share: int(2.5 * each))
    sizes = []
    start = Cohort.__init__
    monkeypatch.setattr(Cohort, "__init__", lambda self, runs, *rest: sizes.append(len(runs)) or start(self, runs, *rest))
    assert len(finish(runs, Checkpoints(tmp_path, "s"))) == 3
    assert sorted(sizes) == [1, 2]


def test_more_threads_change_no_bit(runs, tmp_path):
    before = torch.get_num_threads()
    try:
        outcome = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            outcome.append(outcomes(finish(runs, Checkpoints(tmp_path / str(threads), "s"))))
    finally:
        torch.set_num_threads(before)
    assert outcome[0] == outcome[1]


def test_a_checkpoint_with_any_bit_flipped_is_read_whole_or_not_at_all(tmp_path):
    saved = {"record": {"status": "training", "ended": [1.0, 2.0]}, "state": {"weights": torch.arange(40.0)}}
    checkpoints = Checkpoints(tmp_path, "s")
    checkpoints.open()
    checkpoints.save({"run": saved})
    (path,) = checkpoints.paths("run")
    whole = path.read_bytes()
    assert read_file(path)["run"]["state"]["weights"].equal(torch.arange(40.0))
    rng = np.random.default_rng(0)
    for at in [*range(64), *rng.integers(0, len(whole), 150).tolist()]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        forget_files()
        assert read_file(path) is None  # and raises nothing
        assert set(checkpoints.index()) <= {"run"} or at < 16
    for odd in ([], {}, {"record": {}, "state": None}, {"record": {"status": "training", "ended": [1.0]}, "state": {}}, 3):
        torch.save(odd, path)
        forget_files()
        assert read_file(path) is None and checkpoints.index() == {}


def test_the_checkpoint_of_a_part_is_written_while_the_next_one_is_trained(runs, tmp_path, monkeypatch):
    """The write of the first part ends only when the second one is in training, which would hang if it came before it."""
    training, events = threading.Event(), []
    save, part = Checkpoints.save, Cohort.train_segment

    def slow(self, saved, cohort=None):
        events.append("write")
        assert len(events) > 3 or training.wait(60)
        events.append("written")
        return save(self, saved, cohort)

    def train_segment(cohort, tick):
        events.append(f"part {cohort.segment + 1}")
        if cohort.segment == 1:
            training.set()
        part(cohort, tick)

    monkeypatch.setattr(Checkpoints, "save", slow)
    monkeypatch.setattr(Cohort, "train_segment", train_segment)
    assert len(finish(runs, Checkpoints(tmp_path, "s"))) == 3
    assert events.index("part 2") < events.index("written") and events.count("written") == 3


def test_who_is_dropped_stays_in_the_files_of_its_cohort_until_the_end(tmp_path):
    of = {
        f"id{s}": make_run("sgd", "permuted-digits", s, {**SETTINGS, "eta0": 0.03 if s else 0.0, "drop_below": 0.3})
        for s in range(3)
    }
    checkpoints = Checkpoints(tmp_path, "s")
    records = finish(of, checkpoints)
    assert records["id0"]["status"] == "dropped" and records["id1"]["status"] == "finished"
    newest = checkpoints.paths("id1")[0]
    assert {i: s["state"] for i, s in read_file(newest).items()} == dict.fromkeys(of)
    assert resume_run("id0", of["id0"], checkpoints)[1]["status"] == "dropped"


def test_a_file_that_cannot_be_read_just_now_is_not_taken_for_a_damaged_one(runs, tmp_path, monkeypatch):
    interrupted(runs, Checkpoints(tmp_path, "s"), 1)
    (path,) = tmp_path.glob("*/*.pt")
    checkpoints = Checkpoints(tmp_path, "t")
    for name in ("sweeps.checkpoints.read_first_line", "sweeps.checkpoints.parse_file"):
        with monkeypatch.context() as m:
            m.setattr(name, lambda *_: (_ for _ in ()).throw(OSError("the disk does not answer")))
            checkpoints.remove("another", "id0")
        assert path.exists() and sorted(checkpoints.index()) == sorted(runs)
    path.write_bytes(b"noise")
    checkpoints.remove("another")
    assert not path.exists()


def test_what_is_removed_leaves_the_file(runs, tmp_path):
    checkpoints = Checkpoints(tmp_path, "s")
    interrupted(runs, checkpoints, 1)
    (path,) = tmp_path.glob("*/*.pt")
    before = path.stat().st_size
    checkpoints.remove("id0", "id1")
    assert path.stat().st_size < before / 2 and list(read_file(path)) == ["id2"]
