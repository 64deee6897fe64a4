"""One cohort to its end: where it goes on, how it fits into memory, and its checkpoints beside the training."""

import threading

import pytest
import torch
from sessions import CPU, SETTINGS, finish, interrupted, outcomes

from presyn import Cohort, PresynError, load, make_run
from presyn.device import memory_needed
from presyn.methods.presynaptic import Presynaptic
from sweeps.checkpoints import Checkpoints, read_file
from sweeps.cluster import Cluster
from sweeps.execute import train_in_process
from sweeps.packing import Member
from sweeps.train_cohort import resume_cohort, resume_run


def test_a_worker_that_is_restarted_goes_on_from_its_own_session(runs, tmp_path):
    mine = Checkpoints(tmp_path, "mine")
    interrupted(runs, mine, 2)
    finished = Cohort([runs["id2"]], load("digits"), CPU)
    while not finished.done:
        finished.train_segment()
    mine.save({"id2": {"record": finished.records[0].as_dict() | {"status": "finished"}, "state": None}})
    going, ended = resume_cohort([Member(i, r) for i, r in runs.items()], mine)
    assert [(m.run_id, m.segments) for m in going] == [("id0", 2), ("id1", 2)]
    assert [run_id for run_id, *_ in ended] == ["id2"]


def test_who_ended_is_not_trained_again_when_a_worker_dies(runs, tmp_path):
    mine = Checkpoints(tmp_path, "mine")
    ended = finish(runs, mine)  # the driver has stored these; their end markers stay until the stage ends
    going, again = resume_cohort([Member(i, r) for i, r in runs.items()], mine)
    assert not going and {run_id: record for run_id, record, _ in again} == ended


def test_a_checkpoint_that_vanished_costs_a_segment_and_not_the_cohort(runs, tmp_path):
    killed = Checkpoints(tmp_path, "killed")
    interrupted(runs, killed, 2)
    members = [resume_run(i, r, killed)[0] for i, r in runs.items()]
    members[0].checkpoint.unlink()
    going, _ = resume_cohort(members, killed)
    assert [m.segments for m in going] == [1, 1, 1]


def test_a_cohort_without_memory_goes_on_in_halves_from_its_last_segment(runs, tmp_path, monkeypatch):
    expected = finish(runs, Checkpoints(tmp_path / "plenty", "s"))
    trained, limit = [], 2
    segment = Cohort.train_segment

    def train_segment(cohort, tick):
        if len(cohort.runs) >= limit and cohort.segment == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        segment(cohort, tick)
        trained.append((len(cohort.runs), cohort.segment))

    monkeypatch.setattr(Cohort, "train_segment", train_segment)
    got = finish(runs, Checkpoints(tmp_path / "scarce", "s"))
    assert outcomes(got) == outcomes(expected)
    # The first segment is trained once by all; nothing of it again.
    assert trained == [(3, 1), *[(1, p) for _ in range(3) for p in (2, 3)]]
    limit = 1
    with pytest.raises(PresynError, match="one network of permuted-digits does not fit into the memory of cpu"):
        finish(runs, Checkpoints(tmp_path / "none", "s"))


def test_a_cohort_is_as_large_as_free_memory_allows(runs, tmp_path, monkeypatch):
    each = memory_needed(runs["id0"], load("digits"))
    monkeypatch.setattr("sweeps.train_cohort.usable_memory", lambda device, share: int(2.5 * each))
    sizes = []
    start = Cohort.__init__
    monkeypatch.setattr(Cohort, "__init__", lambda self, runs, *a, **k: sizes.append(len(runs)) or start(self, runs, *a, **k))
    assert len(finish(runs, Checkpoints(tmp_path, "s"))) == 3
    assert sorted(sizes) == [1, 2]


def test_the_checkpoint_of_a_segment_is_written_while_the_next_one_is_trained(runs, tmp_path, monkeypatch):
    """The write of the first segment ends only when the second one is in training, which would hang if it came before it."""
    training, events = threading.Event(), []
    save, segment = Checkpoints.save, Cohort.train_segment

    def slow(self, saved, cohort=None):
        events.append("write")
        assert len(events) > 3 or training.wait(60)
        events.append("written")
        return save(self, saved, cohort)

    def train_segment(cohort, tick):
        events.append(f"segment {cohort.segment + 1}")
        if cohort.segment == 1:
            training.set()
        segment(cohort, tick)

    monkeypatch.setattr(Checkpoints, "save", slow)
    monkeypatch.setattr(Cohort, "train_segment", train_segment)
    assert len(finish(runs, Checkpoints(tmp_path, "s"))) == 3
    assert events.index("segment 2") < events.index("written") and events.count("written") == 3


@pytest.mark.parametrize("kind", [ZeroDivisionError, OSError, PresynError])
def test_a_member_whose_rule_raises_is_told_apart_and_the_others_end_well(tmp_path, monkeypatch, kind):
    values = {f"id{s}": 0.02 + 0.01 * s for s in range(7)}
    runs = {i: make_run("presynaptic", "permuted-digits", 1, SETTINGS | {"p_up": p_up}) for i, p_up in values.items()}
    whole = finish(runs, Checkpoints(tmp_path / "whole", "s"))
    end_task = Presynaptic.end_task

    def raise_above(method, state, *arguments):
        if float(method.h.p_up.max()) > 0.06:
            raise kind("a bug in a rule")
        end_task(method, state, *arguments)

    monkeypatch.setattr(Presynaptic, "end_task", raise_above)
    records = {}
    with pytest.raises(PresynError) as e:
        train_in_process(
            runs,
            Checkpoints(tmp_path, "s"),
            Cluster(),
            lambda i, record, place: records.update({i: record}),
            lambda steps: None,
        )
    good = [i for i, p_up in values.items() if p_up <= 0.06]
    assert outcomes(records) == outcomes({i: whole[i] for i in good}), "the others, bit for bit"
    message = str(e.value)
    assert "\n" not in message and message.count(f"{kind.__name__}: a bug in a rule") == len(values) - len(good)
    assert "p_up 0.07" in message and "p_up 0.05" not in message


def test_an_error_of_whoever_hears_of_a_segment_is_not_taken_for_one_of_a_rule(runs, tmp_path):
    def on_end(*arguments):
        raise ConnectionResetError("the driver is gone") if len(arguments) == 3 else AssertionError

    with pytest.raises(ConnectionResetError):
        train_in_process(runs, Checkpoints(tmp_path, "s"), Cluster(), on_end, lambda steps: None)

    def on_steps(steps):
        raise LookupError("a bug in a progress bar")

    with pytest.raises(LookupError):
        train_in_process(runs, Checkpoints(tmp_path / "t", "s"), Cluster(), lambda *a: None, on_steps)


def test_who_is_dropped_stays_in_the_files_of_its_cohort_until_the_end(tmp_path):
    runs = {
        f"id{s}": make_run("sgd", "permuted-digits", s, {**SETTINGS, "eta0": 0.03 if s else 0.0, "drop_below": 0.3})
        for s in range(3)
    }
    checkpoints = Checkpoints(tmp_path, "s")
    records = finish(runs, checkpoints)
    assert records["id0"]["status"] == "dropped" and records["id1"]["status"] == "finished"
    newest = checkpoints.paths("id1")[0]
    assert {i: s["state"] for i, s in read_file(newest).items()} == dict.fromkeys(runs)
    assert resume_run("id0", runs["id0"], checkpoints)[1][0]["status"] == "dropped"
