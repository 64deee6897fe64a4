"""Checkpoints are read whole or not at all, sessions write apart, and kept states are no checkpoints."""

import numpy as np
import pytest
import torch
from sessions import finish, interrupted

from presyn import PresynError, make_run
from sweeps.checkpoints import FILES_KEPT, Checkpoints, forget_files, read_file, segments_in_name
from sweeps.remote import open_folder
from sweeps.train_cohort import resume_run


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


def test_a_kept_state_is_the_same_file_wherever_it_is_kept(tmp_path):
    state = {"weights": torch.arange(4.0)}
    near, far = (Checkpoints(open_folder(place), "s") for place in (tmp_path / "near", f"file://{tmp_path}/far"))
    for checkpoints in (near, far):
        checkpoints.keep("id0", state)
    contents = [(tmp_path / name / "states" / "id0.pt").read_bytes() for name in ("near", "far")]
    assert contents[0] == contents[1] and contents[1].endswith(b"PK\x05\x06" + contents[1][-18:]), "torch's own, a zip file"
    assert torch.load(tmp_path / "far" / "states" / "id0.pt", weights_only=True)["weights"].equal(torch.arange(4.0))


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
