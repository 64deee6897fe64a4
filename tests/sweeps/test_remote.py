"""Checkpoints where no folder is shared: on an S3 server, and what they need of any file system."""

import threading

import pytest
from sessions import finish, interrupted, outcomes

from presyn import PresynError
from sweeps.checkpoints import Checkpoints
from sweeps.remote import open_folder
from sweeps.train_cohort import resume_run


@pytest.fixture(scope="module")
def bucket():
    """The address of an empty bucket on a server of our own."""
    moto = pytest.importorskip("moto.server")
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, moto.DomainDispatcherApplication(moto.create_backend_app), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = f"s3://key:secret@bucket/presyn?scheme=http&endpoint_override=127.0.0.1:{server.server_port}&region=eu-central-1"
    open_folder(where + "&allow_bucket_creation=true").parent.mkdir()
    yield where
    server.shutdown()


def test_a_killed_sweep_goes_on_from_s3_and_ends_alike(runs, bucket, tmp_path):
    whole = finish(runs, Checkpoints(tmp_path / "near", "s"))
    far = open_folder(bucket)
    interrupted(runs, Checkpoints(far, "killed"), 2)
    second = Checkpoints(far, "second")
    assert {resume_run(i, r, second)[0].segments for i, r in runs.items()} == {2}
    assert sorted(second.index()) == sorted(runs)
    assert outcomes(finish(runs, second)) == outcomes(whole)
    assert len(list(far.glob("killed/*.pt"))) == 2  # the last two segments of all
    second.check_shared()
    second.remove(*runs)
    second.close()
    assert not list(far.glob("*/*.pt"))


def test_a_star_stands_for_one_name(tmp_path):
    for name in ("run-1.pt", "one/run-2.pt", "one/deep/run-3.pt", "one/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    far = open_folder(f"file://{tmp_path}")
    assert [p.name for p in far.glob("*/*.pt")] == ["run-2.pt"]
    assert sorted(p.name for p in far.glob("*")) == ["one", "run-1.pt"]


def test_a_node_that_does_not_reach_the_bucket_says_so(bucket):
    with pytest.raises(PresynError, match="not shared with this node"):
        Checkpoints(open_folder(bucket), "another session").check_shared()


@pytest.mark.parametrize("place", ["nosuch://bucket/folder", "s3://"])
def test_an_address_that_is_none_is_refused(place):
    with pytest.raises(PresynError, match="cannot be used for checkpoints"):
        open_folder(place)
