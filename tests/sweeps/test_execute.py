"""Execution without Ray: going on from whatever a killed session left behind."""

import pytest
import torch
from sessions import finish, interrupted, outcomes

from presyn import load, train
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster
from sweeps.execute import train_in_process
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


def test_a_result_that_the_killed_driver_did_not_store_is_not_trained_again_and_says_where_it_was(runs, tmp_path):
    places = []
    train_in_process(runs, Checkpoints(tmp_path, "killed"), Cluster(), lambda i, r, place: places.append(place), lambda n: None)
    member, (record, place) = resume_run("id1", runs["id1"], Checkpoints(tmp_path, "second"))
    assert record["status"] == "finished" and member.segments == 3
    assert place == places[0] and place["cohort"] == len(runs) and place["processor"]
    steps = []
    again = Checkpoints(tmp_path, "second")
    train_in_process(runs, again, Cluster(), lambda i, r, place: places.append(place), steps.append)
    assert places[3:] == places[:3] and not steps


@pytest.mark.parametrize("threads", [2, 8])
def test_the_threads_of_this_process_change_no_bit_and_stay(runs, tmp_path, threads):
    whole = finish(runs, Checkpoints(tmp_path / "one", "s"))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert outcomes(finish(runs, Checkpoints(tmp_path / "more", "s"))) == outcomes(whole)
        seen = []
        records = train(list(runs.values()), load("digits"), "cpu", lambda steps: seen.append(torch.get_num_threads()))
        assert set(seen) == {1}
        assert [r.loss for r in records] == [whole[i]["loss"] for i in runs]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_more_threads_that_are_asked_for_are_said_and_stand_in_the_rows(runs, tmp_path, capsys):
    places = []
    run = {"id0": runs["id0"]}
    train_in_process(run, Checkpoints(tmp_path, "s"), Cluster(cpus=2), lambda i, r, place: places.append(place), lambda n: None)
    assert [place["device"] for place in places] == ["cpu, 2 threads"]
    assert "with --cpus 2 results on a CPU may differ" in capsys.readouterr().err
