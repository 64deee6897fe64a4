"""Execution without Ray: going on from whatever a killed session left behind."""

import torch
from sessions import finish, interrupted, outcomes

from sweeps.checkpoints import Checkpoints
from sweeps.train_cohort import resume_run


def test_another_session_goes_on_from_the_last_segment_and_ends_alike(runs, tmp_path):
    whole = finish(runs, Checkpoints(tmp_path / "a", "s"))
    interrupted(runs, Checkpoints(tmp_path / "b", "killed"), 2)
    second = Checkpoints(tmp_path / "b", "second")
    assert {resume_run(i, r, second)[0].segments for i, r in runs.items()} == {2}
    assert outcomes(finish(runs, second)) == outcomes(whole)


def test_members_that_were_killed_one_segment_apart_end_alike(runs, tmp_path):
    whole = finish(runs, Checkpoints(tmp_path / "a", "s"))
    killed = Checkpoints(tmp_path / "b", "killed")
    interrupted(runs, killed, 1)
    interrupted(dict(list(runs.items())[:1]), killed, 2)
    assert outcomes(finish(runs, Checkpoints(tmp_path / "b", "second"))) == outcomes(whole)


def test_a_result_that_the_killed_driver_did_not_store_is_not_trained_again(runs, tmp_path):
    finish(runs, Checkpoints(tmp_path, "killed"))  # the worker checkpoints the end before the driver hears of it
    member, record = resume_run("id1", runs["id1"], Checkpoints(tmp_path, "second"))
    assert record is not None and record["status"] == "finished" and member.segments == 3


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
