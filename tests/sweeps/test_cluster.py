"""What a cluster offers and takes: slots, kinds of devices, how it is found, and what a node is looked at for."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import presyn
from presyn import PresynError, load
from presyn.datasets import digest_dataset
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, NodeError
from sweeps.cluster.join import _explain, _folders_of_code, _short_folder, _watch, find_cluster
from sweeps.cluster.nodes import Images, Setup, digest_code, look_at_node, prepare_device


@pytest.mark.parametrize(
    ("options", "resources", "cpu", "gpu"),
    [
        ({}, {"CPU": 16, "GPU": 2}, 16, 2),
        ({"gpu_share": 0.3}, {"CPU": 16, "GPU": 4}, 16, 12),  # three on each GPU: a share lies on one
        ({"gpu_share": 0.25}, {"CPU": 16, "GPU": 1}, 16, 4),
        ({"gpu_share": 0.1}, {"CPU": 4, "GPU": 1}, 4, 4),  # a cohort on a GPU takes a core as well
        ({"cpus": 3}, {"CPU": 8}, 2, 0),
        ({}, {}, 0, 0),
    ],
)
def test_slots_of_a_node(options, resources, cpu, gpu):
    cluster = Cluster(**options)
    assert (cluster.slots("cpu", resources), cluster.slots("gpu", resources)) == (cpu, gpu)


def test_kinds_of_devices():
    assert Cluster().kinds(0) == ("cpu",) and Cluster().kinds(2) == ("gpu", "cpu")
    assert Cluster(device="cuda").kinds(0) == ("gpu",)  # a cluster that grows has none yet
    assert Cluster(device="cpu").kinds(8) == ("cpu",)


@pytest.mark.parametrize(
    "bad", [{"cpus": 0}, {"gpu_share": 0}, {"gpu_share": 1.5}, {"cohort": 0}, {"ray_address": "ray://a:1"}]
)
def test_what_makes_no_sense_is_refused(bad):
    with pytest.raises(PresynError):
        Cluster(**bad)


def test_a_cluster_is_found_as_ray_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert find_cluster("10.0.0.1:6379") == "10.0.0.1:6379" and find_cluster("local") is None and find_cluster(None) is None
    with pytest.raises(PresynError, match="no Ray runs on this node"):
        find_cluster("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")  # left behind by one that was killed
    assert find_cluster(None) is None


@pytest.mark.parametrize("path", [None, "", "root:", ":root", "root::root", ":"])
def test_workers_never_look_for_code_in_the_folder_they_work_in(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False) if path is None else monkeypatch.setenv("PYTHONPATH", path)
    folders = _folders_of_code()
    assert all(Path(folder).is_absolute() and Path(folder) != tmp_path for folder in folders)
    assert folders[0] == str(Path(presyn.__file__).parent.parent)
    assert (str(tmp_path / "root") in folders) is ("root" in (path or ""))


def test_the_watch_of_a_cluster_ends_nothing_once_the_work_is_over(monkeypatch):
    ended = []
    monkeypatch.setattr("sweeps.cluster.join.os._exit", ended.append)
    monkeypatch.setattr("sweeps.cluster.join.AWAY_SECONDS", -1.0)
    ray = SimpleNamespace(is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "ray", ray)
    over = SimpleNamespace(wait=lambda seconds: False, is_set=lambda: False)
    _watch("127.0.0.1:1", over)  # somebody shut Ray down
    ray.is_initialized = lambda: True
    _watch("127.0.0.1:1", SimpleNamespace(wait=lambda seconds: True, is_set=lambda: True))  # the work is over
    assert ended == []


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Unauthenticated: RPC error: InvalidAuthToken: Authentication token is missing or incorrect", "RAY_AUTH_TOKEN"),
        ("RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.40.0\n    Python: 3.12.1\n", "Ray: 2.40.0"),
        ("something else", ""),
    ],
)
def test_what_ray_says_is_told_in_one_line(said, cause):
    explanation = _explain([said])
    assert cause in explanation and bool(cause) == bool(explanation) and "\n" not in explanation


@pytest.fixture
def setup(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", "s")
    checkpoints.open()
    return Setup(checkpoints, Cluster(), digest_code(), {})


def test_a_good_node_says_what_it_is(setup):
    assert look_at_node(setup, "cpu")["torch"] == torch.__version__


def test_a_node_is_refused_with_the_reason(setup, monkeypatch, tmp_path):
    with pytest.raises(NodeError, match="another version"):
        look_at_node(Setup(setup.checkpoints, setup.cluster, "other", {}), "cpu")
    with pytest.raises(NodeError, match="not shared with this node"):
        look_at_node(Setup(Checkpoints(tmp_path / "elsewhere", "s"), setup.cluster, setup.code, {}), "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(NodeError, match="Ray counts a GPU there that torch cannot use"):
            prepare_device(Cluster(), "gpu")
    monkeypatch.setattr(torch, "__version__", "2.1.0")
    with pytest.raises(NodeError, match="torch is 2.1.0 there"):
        look_at_node(setup, "cpu")


def test_images_that_changed_on_the_way_are_refused(setup, monkeypatch):
    ray = pytest.importorskip("ray")
    data = load("digits")
    monkeypatch.setattr(ray, "get", lambda stored: stored)
    images = Images("digits", data, digest_dataset(data))
    assert images.fetch() is data
    with pytest.raises(NodeError, match="did not arrive as the driver sent them"):
        Images("digits", data, "another digest").fetch()


def test_a_folder_of_ray_that_is_somebody_elses_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", "/x")
    monkeypatch.setattr("sweeps.cluster.join.Path.exists", lambda path: True)
    monkeypatch.setattr("sweeps.cluster.join.os.access", lambda path, mode: str(path) != "/x/ray")
    assert _short_folder().startswith("/tmp/ray-")
    monkeypatch.setattr("sweeps.cluster.join.os.access", lambda path, mode: True)
    assert _short_folder() is None
