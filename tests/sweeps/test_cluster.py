"""What a cluster offers and takes: slots, kinds of devices, how it is found, and what a node is looked at for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import presyn
from presyn import BENCHMARKS, PresynError, load
from sweeps.checkpoints import Checkpoints
from sweeps.cluster import Cluster, NodeError, find
from sweeps.cluster.find import find_cluster
from sweeps.cluster.nodes import (
    Images,
    Setup,
    describe_content,
    digest_code,
    look_at_node,
    prepare_device,
    store_images,
)
from sweeps.cluster.ray_process import explain, folders_of_code


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


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """A folder like /proc, to which processes can be added."""
    folder = tmp_path / "proc"
    folder.mkdir()
    monkeypatch.setattr(find, "_raylets", lambda look=find._raylets: look(folder))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))

    def add(pid, parent, *words):
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "cmdline").write_bytes(b"\0".join(w.encode() for w in words))
        (folder / str(pid) / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1")

    add(1, 0, "/sbin/init")
    return add


RAYLET = ("/site/ray/core/src/ray/raylet/raylet", "--raylet_socket_name=/x", "--node_id=7", "-c worker --gcs-address={}")


def add_raylet(add, pid, parent, address):
    add(pid, parent, *(w.format(address) for w in RAYLET))


def test_a_cluster_that_was_named_last_is_found(tmp_path, processes):
    assert (
        find_cluster("10.0.0.1:6379").address == "10.0.0.1:6379"
        and find_cluster("local") is None
        and find_cluster(None) is None
    )
    with pytest.raises(PresynError, match="no Ray runs on this node"):
        find_cluster("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")  # left behind by one that was killed
    assert find_cluster(None) is None
    add_raylet(processes, 10, 1, "10.0.0.1:6379")
    add_raylet(processes, 11, 1, "10.0.0.2:6379")
    assert find_cluster(None).address == find_cluster("auto").address == "10.0.0.1:6379"


def test_a_cluster_with_a_folder_of_its_own_is_found_by_its_processes(processes):
    add_raylet(processes, 10, 1, "10.0.0.1:6379")
    assert find_cluster(None).address == find_cluster("auto").address == "10.0.0.1:6379"
    add_raylet(processes, 11, 1, "10.0.0.1:6379")  # another node of it
    assert find_cluster(None).address == "10.0.0.1:6379"
    add_raylet(processes, 12, 1, "10.0.0.2:6379")
    with pytest.raises(PresynError, match="Several Rays run on this node .10.0.0.1:6379, 10.0.0.2:6379.*--ray-address local"):
        find_cluster(None)


def test_a_ray_that_a_program_started_for_itself_is_joined_only_when_asked(processes):
    processes(9, 1, "/usr/bin/python3", "-m", "pipeline.cli", "search")
    add_raylet(processes, 10, 9, "10.0.0.1:6379")
    assert find_cluster(None) is None and find_cluster("auto").address == "10.0.0.1:6379"
    processes(19, 1, "/usr/bin/python3", "/usr/bin/ray", "start", "--block")
    add_raylet(processes, 20, 19, "10.0.0.2:6379")
    assert find_cluster(None).address == find_cluster("auto").address == "10.0.0.2:6379"


def test_a_ray_in_a_container_on_this_machine_is_not_taken_for_one_here(processes, tmp_path):
    add_raylet(processes, 10, 1, "10.0.0.1:6379")
    (tmp_path / "proc" / "10" / "ns").mkdir()
    (tmp_path / "proc" / "10" / "ns" / "net").symlink_to("net:[1]")
    assert find_cluster(None) is None
    with pytest.raises(PresynError, match="no Ray runs on this node"):
        find_cluster("auto")


def test_a_ray_of_another_user_is_joined_only_when_asked(processes, monkeypatch):
    add_raylet(processes, 10, 1, "10.0.0.1:6379")
    monkeypatch.setattr(find.os, "getuid", lambda: 12345)
    assert find_cluster(None) is None and find_cluster("auto").address == "10.0.0.1:6379"


def test_more_cores_for_a_cohort_than_there_are_is_refused_where_nothing_can_join(processes, monkeypatch):
    monkeypatch.setattr(find, "usable_cores", lambda: 2)
    find.refuse_cores(Cluster(cpus=2))
    with pytest.raises(PresynError, match="--cpus 3 is more than the 2 cores that this process may use"):
        find.refuse_cores(Cluster(cpus=3))
    find.refuse_cores(Cluster(cpus=3, ray_address="10.0.0.1:6379"))


def test_one_option_limits_the_cores_of_a_command():
    assert Cluster(cores=5, cpus=2).most_cohorts() == 2 and Cluster().most_cohorts() > 1000
    with pytest.raises(PresynError, match="--cores must be at least what a cohort takes"):
        Cluster(cores=2, cpus=3)


@pytest.mark.parametrize("path", [None, "", "root:", ":root", "root::root", ":"])
def test_workers_never_look_for_code_in_the_folder_they_work_in(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False) if path is None else monkeypatch.setenv("PYTHONPATH", path)
    folders = folders_of_code()
    assert all(Path(folder).is_absolute() and Path(folder) != tmp_path for folder in folders)
    assert folders[0] == str(Path(presyn.__file__).parent.parent)
    assert (str(tmp_path / "root") in folders) is ("root" in (path or ""))


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Unauthenticated: RPC error: InvalidAuthToken: Authentication token is missing or incorrect", "RAY_AUTH_TOKEN"),
        ("RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.40.0\n    Python: 3.12.1\n", "Ray: 2.40.0"),
        ("something else", ""),
    ],
)
def test_what_ray_says_is_told_in_one_line(said, cause):
    explanation = explain(said)
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
    images = Images("digits", data, describe_content(data))
    assert images.fetch() is data
    with pytest.raises(NodeError, match="did not arrive as the driver sent them"):
        Images("digits", data, "another digest").fetch()


def test_the_same_pixels_as_other_inputs_are_another_data_set(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "get", lambda stored: stored)
    monkeypatch.setattr(ray, "put", lambda dataset: dataset)
    digits, plain = load("digits"), BENCHMARKS["split-digits"]
    sets = {plain: digits, replace(plain, name="again"): digits}
    sets |= {replace(plain, name=name): replace(digits, **{name: 0.5}) for name in ("scale", "offset")}
    sets[replace(plain, name="other")] = replace(digits, name="other")
    stored = store_images(sets)
    assert {benchmark: stored[benchmark].fetch() for benchmark in sets} == sets
    assert len({id(images.fetch()) for images in stored.values()}) == 4
