"""What a network and this process may take: memory, cores, devices."""

import pytest

import presyn.device
from presyn import PresynError, choose_device, load, make_run
from presyn.device import MARGIN, memory_needed, refuse_too_large, usable_bytes, usable_cores


def test_a_network_that_no_machine_holds_is_refused_with_the_memory_it_needs():
    run = make_run("sgd", "digits", 0, {"hidden": [1_000_000, 1_000_000]})
    with pytest.raises(PresynError, match=r"hidden \[1000000, 1000000\].* GiB"):
        refuse_too_large(run, load("digits"))
    small = make_run("sgd", "digits", 0)
    refuse_too_large(small, load("digits"))
    with pytest.raises(PresynError, match="GiB"):
        refuse_too_large(small, load("digits"), memory_needed(small, load("digits")) - 1)


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"cpu.max": "max 100000"}, "0::/", []),
        ({"cpu.max": "150000 100000"}, "0::/", [1.5]),
        ({"a/cpu.max": "200000 100000", "cpu.max": "max 100000"}, "0::/a/b", [2.0]),
        ({"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/a\n2:memory:/a", [3.0]),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu:/", []),
        ({"cpu.max": "nonsense"}, "0::/", []),
        ({}, "0::/", []),
    ],
)
def test_control_groups_limit_the_cores(tmp_path, files, own, expected):
    for name, content in files.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "own").write_text(own + "\n")
    assert presyn.device._control_group_limits(tmp_path / "sys", tmp_path / "own") == expected


def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(presyn.device.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(presyn.device, "_control_group_limits", lambda: [2.5, 8.0])
    assert usable_cores() == 2
    monkeypatch.setattr(presyn.device, "_control_group_limits", lambda: [0.5])
    assert usable_cores() == 1


@pytest.mark.parametrize("name", ["", None, "cpu"])
def test_a_device_may_be_a_word_or_a_device(name):
    assert choose_device(choose_device(name or "cpu")).type == "cpu"


@pytest.mark.parametrize("name", [3, ["cpu"], "cup", "cuda:99"])
def test_another_device_is_refused_in_one_line(name):
    with pytest.raises(PresynError, match="device"):
        choose_device(name)


GIB = 1 << 30


@pytest.mark.parametrize(
    ("what", "free", "total", "reserved", "allocated", "share", "expected"),
    [
        ("all of an empty GPU", 80, 80, 0, 0, 1.0, 80),
        ("what another process left", 30, 80, 0, 0, 1.0, 30),
        ("what torch kept from the last cohort as well", 20, 80, 60, 0, 1.0, 80),
        ("not what this process still uses", 20, 80, 60, 10, 1.0, 70),
        ("its share", 80, 80, 0, 0, 0.25, 20),
        ("its share, less what it uses", 80, 80, 5, 5, 0.25, 15),
        ("less than its share, where others took more than theirs", 10, 80, 0, 0, 0.25, 10),
        ("more again when a neighbour died", 60, 80, 0, 0, 0.75, 60),
        ("nothing where nothing is left", 0, 80, 0, 0, 1.0, 0),
        ("nothing where it is over its share", 40, 80, 30, 30, 0.25, 0),
    ],
)
def test_what_a_cohort_may_take_of_a_gpu(what, free, total, reserved, allocated, share, expected):
    usable = usable_bytes(free * GIB, total * GIB, reserved * GIB, allocated * GIB, share)
    assert usable == max(0, expected * GIB - MARGIN), what
