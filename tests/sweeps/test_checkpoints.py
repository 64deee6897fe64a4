"""Checkpoints are read whole or not at all, sessions write apart, and kept states are no checkpoints."""

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from sessions import CPU, finish, interrupted, outcomes

from presyn import PresynError, make_run
from sweeps.checkpoints import FILES_KEPT, Checkpoints, _checksum, forget_files, parse_state, read_file, segments_in_name
from sweeps.remote import open_folder
from sweeps.train_cohort import resume_cohort, resume_run, train_members


def test_a_damaged_checkpoint_costs_one_segment(runs, tmp_path):
    killed = Checkpoints(tmp_path, "killed")
    interrupted(runs, killed, 2)
    newest = killed.paths("id0")[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert read_file(newest) is None
    assert resume_run("id0", runs["id0"], killed)[0].segments == 1


def test_sessions_write_apart_and_keep_two_segments(runs, tmp_path):
    interrupted(runs, Checkpoints(tmp_path, "one"), 3)
    names = [p.name for p in (tmp_path / "one").iterdir()]
    assert len(names) == FILES_KEPT and {segments_in_name(tmp_path / n) for n in names} == {2, 3}, (
        "one file of all for each segment"
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


def test_a_node_that_does_not_share_the_store_says_so(tmp_path):
    driver = Checkpoints(tmp_path / "store", "s")
    driver.open()
    driver.check_shared()
    with pytest.raises(PresynError, match="not shared with this node.*PRESYN_STORE"):
        Checkpoints(tmp_path / "elsewhere", "s").check_shared()


def test_a_checkpoint_with_any_bit_flipped_is_read_whole_or_not_at_all(tmp_path):
    saved = {
        "record": {"status": "training", "loss": [0.2, 0.1], "seconds": [1.0, 1.0], "ended": [1.0, 2.0]},
        "state": {"weights": torch.arange(40.0)},
    }
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


@pytest.fixture(params=["a path", "an address"])
def open_place(request, tmp_path):
    """Opens a folder under tmp_path, by its path or by an address of a file system that is not mounted."""
    return lambda name: open_folder(tmp_path / name if request.param == "a path" else f"file://{tmp_path}/{name}")


def test_kept_states_lie_in_the_folder_that_is_named_and_beside_the_checkpoints_of_a_store(open_place, tmp_path):
    state = {"weights": torch.arange(4.0)}
    for folder, states in (("elsewhere", "elsewhere/states"), ("store/checkpoints", "store/states")):
        checkpoints = Checkpoints(open_place(folder), "s")
        checkpoints.keep("id0", state)
        assert [p.relative_to(tmp_path).as_posix() for p in (tmp_path / states).iterdir()] == [f"{states}/id0.pt"]
        assert checkpoints.state_path("id0").exists() and not checkpoints.state_path("id1").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "store"]


def test_stores_that_share_a_folder_keep_states_apart(tmp_path):
    first, second = (Checkpoints(tmp_path / "shared", "s", store) for store in ("first", "second"))
    for checkpoints, value in ((first, 1.0), (second, 2.0)):
        checkpoints.keep("id0", {"weights": torch.full((3,), value)})
    first.state_path("id0").unlink()
    assert first.kept_state("id0") is None and second.kept_state("id0")["weights"][0] == 2.0
    Checkpoints(tmp_path / "shared", "s").keep("id1", {"weights": torch.zeros(3)})  # as versions before kept them
    assert first.kept_state("id1")["weights"][0] == 0.0


def test_a_shared_folder_may_be_called_as_that_of_a_store_is(tmp_path):
    """States lie in the folder that is named, and its store leaves other stores their sessions."""
    shared = tmp_path / "store" / "checkpoints"
    other = Checkpoints(shared, "s", "0123456789ab")
    other.keep("id0", {"weights": torch.ones(3)})
    assert other.state_path("id0").is_relative_to(shared) and other.kept_state("id0")["weights"][0] == 1.0
    earlier = tmp_path / "store" / "states" / "0123456789ab" / "id1.pt"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(other.state_path("id0").read_bytes())
    assert other.kept_state("id1")["weights"][0] == 1.0, "where earlier versions kept it"
    other.open()
    Checkpoints(shared, "t").close()
    assert other.home.exists()


def test_a_kept_state_is_the_same_file_wherever_it_is_kept(tmp_path):
    state = {"weights": torch.arange(4.0)}
    near, far = (Checkpoints(open_folder(place), "s") for place in (tmp_path / "near", f"file://{tmp_path}/far"))
    for checkpoints in (near, far):
        checkpoints.keep("id0", state)
    contents = [(tmp_path / name / "states" / "id0.pt").read_bytes() for name in ("near", "far")]
    assert contents[0] == contents[1] and zipfile.is_zipfile(tmp_path / "near" / "states" / "id0.pt"), "torch's own"
    assert torch.load(tmp_path / "far" / "states" / "id0.pt", weights_only=True)["weights"].equal(torch.arange(4.0))


def test_a_kept_state_with_any_bit_flipped_is_none(tmp_path):
    """Also one of an earlier version, whose own checksums cover no bit that says what its entries are."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", "s")
    checkpoints.keep("id0", {"weights": torch.arange(60.0), "biases": torch.ones(3)})
    content = checkpoints.state_path("id0").read_bytes()
    weights = torch.arange(60.0)
    assert checkpoints.kept_state("id0")["biases"].tolist() == [1, 1, 1] and checkpoints.kept_state("id1") is None
    for place in range(0, len(content), 3):
        flipped = content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        state = parse_state(flipped)
        assert state is None or place >= len(content) - 14 and state["weights"].equal(weights), place
    earlier = io.BytesIO()
    torch.save({"weights": weights}, earlier)
    assert parse_state(earlier.getvalue())["weights"].equal(weights)


def test_kept_states_are_never_taken_for_checkpoints_nor_removed_with_them(open_place, tmp_path):
    checkpoints = Checkpoints(open_place("elsewhere"), "s")
    runs = {
        f"id{s}": make_run("sgd", "permuted-digits", s, {"epochs": 1, "tasks": 1, "hidden": [4], "keep": True}) for s in (0, 1)
    }
    records = finish(runs, checkpoints)
    states = sorted((tmp_path / "elsewhere" / "states").iterdir())
    contents = [path.read_bytes() for path in states]
    assert [path.stem for path in states] == ["id0", "id1"] and {r["status"] for r in records.values()} == {"finished"}
    assert all(path.parent.name == "s" for paths in checkpoints.index().values() for path in paths)
    checkpoints.remove("id0", "id1", "another")
    assert not checkpoints.index()
    checkpoints.close()
    later = Checkpoints(checkpoints.folder, "later")
    later.open()
    later.remove("id0")
    later.close()
    assert [path.read_bytes() for path in states] == contents
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["states"]
    for path in states:
        path.rename(path.with_suffix(".renamed"))
    later.close()
    assert len(list((tmp_path / "elsewhere" / "states").iterdir())) == 2, "whatever people make of their names"


def worst_cases():
    """Changes of a record after one segment of three tasks that no training can have made."""
    return [
        {"accuracy": [[9.0, None, None]]},
        {"accuracy": [[float("nan"), None, None]]},
        {"accuracy": [[-0.1, None, None]]},
        {"accuracy": [[True, None, None]]},
        {"accuracy": [["0.9", None, None]]},
        {"accuracy": [[0.5, 0.5, None]]},
        {"accuracy": [[0.5, None]]},
        {"accuracy": [[0.5, None, None]] * 2},
        {"accuracy": []},
        {"accuracy": 3},
        {"accuracy": [3]},
        {"loss": []},
        {"loss": [None]},
        {"loss": [0.1, 0.1]},
        {"seconds": [-1.0]},
        {"seconds": [float("inf")]},
        {"ended": [1e300]},
        {"ended": ["today"]},
        {"figures": []},
        {"figures": {"mean_p": 3}},
        {"figures": {"mean_p": []}},
        {"figures": {"mean_p": ["a"]}},
        {"status": "finished"},
        {"status": "perfect"},
        {"status": None},
        {"reason": 3},
    ]


@pytest.mark.parametrize("change", worst_cases(), ids=str)
def test_a_record_that_training_cannot_have_given_is_not_believed(runs, tmp_path, change):
    checkpoints = Checkpoints(tmp_path, "s")
    interrupted(runs, checkpoints, 1)
    saved = read_file(checkpoints.paths("id0")[0])
    saved["id0"]["record"] = saved["id0"]["record"] | change
    checkpoints.save(saved, list(runs))
    forget_files()
    member, end = resume_run("id0", runs["id0"], checkpoints)
    assert (member.segments, end) == (0, None)
    del saved["id0"]["record"]["figures"]
    checkpoints.save(saved, list(runs))
    forget_files()
    assert resume_run("id0", runs["id0"], checkpoints)[0].segments == 0
    saved["id0"] = {"record": saved["id0"]["record"] | {"status": "finished"}, "state": None}
    checkpoints.save(saved, list(runs))
    forget_files()
    assert resume_run("id0", runs["id0"], checkpoints)[1] is None, "nor as the end of a run"


def write_raw(path, run_ids, content):
    first = run_ids + b"\n"
    path.write_bytes(first + content + _checksum(first, content))


def test_a_checkpoint_that_stands_for_more_than_it_holds_is_not_unpacked(tmp_path):
    checkpoints = Checkpoints(tmp_path, "s")
    checkpoints.open()
    record = {"status": "training", "loss": [0.1], "seconds": [1.0], "ended": [1.0]}
    path = tmp_path / "s" / f"{'a' * 16}-00001.pt"
    endless = torch.zeros(1).expand(10**13)  # 40 TB that are one number
    for state, whole in ((torch.zeros(4), True), (endless, False), (torch.zeros(3).to_sparse(), False)):
        buffer = io.BytesIO()
        torch.save({"id": {"record": record, "state": {"weights": state}}}, buffer)
        write_raw(path, b'["id"]', buffer.getvalue())
        forget_files()
        assert (read_file(path) is not None) is whole
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(1 << 27))
    write_raw(path, b'["id"]', buffer.getvalue())
    forget_files()
    assert read_file(path) is None


def test_what_is_no_checkpoint_is_left_alone(runs, tmp_path):
    checkpoints = Checkpoints(tmp_path, "s")
    interrupted(runs, checkpoints, 1)
    os.mkfifo(tmp_path / "s" / f"{'b' * 16}-00001.pt")
    (tmp_path / "s" / f"{'c' * 16}-00001.pt").symlink_to("/dev/zero")
    (tmp_path / "s" / f"{'d' * 16}-00001.pt").mkdir()
    for name in ("mine.pt", "model-best.pt", f"{'e' * 16}-١.pt"):
        (tmp_path / "s" / name).write_bytes(b'["id0"]\n')
    assert {i: len(paths) for i, paths in checkpoints.index().items()} == dict.fromkeys(runs, 1)
    checkpoints.remove(*runs)
    assert (tmp_path / "s" / "mine.pt").exists()


def test_a_checkpoint_with_a_damaged_head_is_removed(runs, tmp_path):
    for flips in range(2, 36, 8):
        checkpoints = Checkpoints(tmp_path / str(flips), "s")
        interrupted(runs, checkpoints, 1)
        (path,) = (tmp_path / str(flips)).glob("*/*.pt")
        damaged = bytearray(path.read_bytes())
        damaged[flips] ^= 1
        path.write_bytes(damaged)
        checkpoints.remove("another")
        assert not path.exists()


def test_a_checkpoint_of_an_earlier_version_is_read_and_removed(runs, tmp_path):
    checkpoints = Checkpoints(tmp_path, "s")
    interrupted(runs, checkpoints, 2)
    for path in tmp_path.glob("*/*.pt"):
        first, rest = path.read_bytes().split(b"\n", 1)
        write_raw(path, first.split(b" crc32:")[0], rest[:-14])
    forget_files()
    assert resume_run("id0", runs["id0"], checkpoints)[0].segments == 2
    checkpoints.remove(*runs)
    assert not list(tmp_path.glob("*/*.pt"))


def test_stores_that_share_a_folder_leave_each_other_alone(runs, open_place, tmp_path):
    first, second = (Checkpoints(open_place("shared"), f"session-{store}", store) for store in ("one", "two"))
    first.open()
    interrupted(runs, second, 2)
    before = sorted((tmp_path / "shared" / "two.session-two").iterdir())
    assert first.index() == {} and sorted(second.index()) == sorted(runs)
    records = finish(runs, first)
    first.remove(*runs)
    first.close()
    assert not (tmp_path / "shared" / "one.session-one").exists()
    assert sorted((tmp_path / "shared" / "two.session-two").iterdir()) == before
    second.check_shared()
    later = Checkpoints(open_place("shared"), "later", "one")
    later.open()
    second.close()
    later.check_shared()
    assert outcomes(records) == outcomes(finish(runs, later))


def test_a_checkpoint_that_is_removed_between_two_looks_costs_its_segments(runs, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, "s")
    whole = finish(runs, Checkpoints(tmp_path / "whole", "s"))
    interrupted(runs, checkpoints, 1)
    members, _ = resume_cohort([resume_run(i, run, checkpoints)[0] for i, run in runs.items()], checkpoints)
    checkpoints.remove("id1")
    forget_files()
    records = {}

    def report(steps, ended):
        records.update({run_id: record for run_id, record, _ in ended})
        return ()

    train_members(members, checkpoints, lambda benchmark: benchmark.load(), CPU, report)
    assert outcomes(records) == outcomes(whole)
