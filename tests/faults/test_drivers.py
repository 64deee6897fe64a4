"""Drivers, heads and disks that fail: the same command goes on, and nothing is lost or doubled."""

import contextlib
import os
import random
import signal
import time

import psutil
import pytest
from conftest import COMMAND
from nodes import spread, until

KILLS = int(os.environ.get("PRESYN_KILLS", "4"))
SECOND = {"one store": COMMAND, "one results folder": f"{COMMAND} --store second"}
"""What a second driver is given at the same time, which shares a store or a folder of results with the first."""


def left_behind(folder):
    """What only a process that was killed leaves: half written files, locks of results, folders of checkpoints."""
    patterns = ("*partial*", ".probe-*", ".id-*", ".mlflow.db.*", "out/**/.*.lock", "out/.presyn.lock")
    odd = [path for pattern in patterns for path in folder.rglob(pattern)]
    return odd + [path for store in (".presyn", "second") for path in folder.glob(f"{store}/checkpoints/*/*")]


@pytest.mark.parametrize("home", [(2, 150)], indirect=True)
def test_a_driver_killed_at_random_moments_goes_on_each_time(machine, home):
    """Half of the kills strike two drivers, each time both of them or one."""
    machine.cluster(2)
    rng, before, second = random.Random(), {}, home.folder / "second"
    for number, moment in enumerate(spread(KILLS, 5, 22, rng)):
        drivers = [machine.presyn(COMMAND)]
        if number % 2:
            drivers.append(machine.presyn(SECOND[("one store", "one results folder")[number // 2 % 2]], "other"))
            rng.shuffle(drivers)
        time.sleep(moment)
        processes = machine.processes("pipeline.cli")  # of one whose parent was killed nothing is found any more
        for process in processes if rng.random() < 0.5 else processes[-1:]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(rng.uniform(0, 2))
        for process in [*processes, *machine.processes("pipeline.cli")]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for driver in drivers:
            driver.wait()
        after = {i: r["ended"] for store in (home.store, second) for i, r in home.rows(store).items()}
        assert all(after[i] == ended for i, ended in before.items()), "what is finished stays as it is"
        before = {i: r["ended"] for i, r in home.rows().items()}
    assert machine.presyn(COMMAND).wait(timeout=600) == 0, machine.said("driver")
    assert machine.presyn(SECOND["one results folder"], "other").wait(timeout=600) == 0, machine.said("other")
    assert "Traceback" not in machine.said("driver") + machine.said("other")
    home.check()
    home.check(second)
    assert not left_behind(home.folder)


@pytest.mark.parametrize("what", ["gcs_server", "the head"])
def test_when_the_head_is_gone_the_command_ends_and_goes_on_with_another(machine, home, what):
    machine.cluster(2)
    driver = machine.presyn(COMMAND)
    until(lambda: home.count_checkpoints() >= 3)
    if what == "the head":
        machine.kill(1)
    else:
        for process in machine.processes("gcs_server"):
            process.kill()
    assert driver.wait(timeout=120) not in (0, None)
    said = machine.said("driver")
    assert "Should it end, the same command goes on." in said and "Traceback" not in said
    assert len(home.rows()) < 6
    for number in (1, 2):
        machine.kill(number)
        (home.folder / f"node{number}.log").unlink()
    until(lambda: not machine.raylets())
    machine.cluster(2)
    assert machine.presyn(COMMAND).wait(timeout=300) == 0, machine.said("driver")
    home.check()


def test_sigterm_ends_in_one_line_and_leaves_no_worker(machine, home):
    machine.cluster(2)
    driver = machine.presyn(COMMAND)
    until(lambda: home.count_checkpoints() >= 2)
    os.kill(machine.processes("pipeline.cli")[-1].pid, signal.SIGTERM)
    assert driver.wait(timeout=60) == 143
    assert "go on with: presyn search --space space.yaml" in machine.said("driver")
    until(lambda: not machine.processes("ray::ImplicitFunc"), seconds=60)
    assert machine.presyn(COMMAND).wait(timeout=300) == 0, machine.said("driver")
    home.check()


def test_two_drivers_do_not_share_a_store(machine, home):
    machine.cluster(1)
    first = machine.presyn(COMMAND, "first")
    until(lambda: home.count_checkpoints() >= 1)
    assert machine.presyn(COMMAND, "second").wait(timeout=60) == 1
    assert "is in use by 'presyn search'" in machine.said("second")
    assert machine.presyn(f"{COMMAND} --wait", "third").wait(timeout=300) == 0, machine.said("third")
    assert first.wait(timeout=300) == 0, machine.said("first")
    home.check()


def test_a_full_disk_ends_with_the_remedy_and_the_command_goes_on_with_room(machine, home):
    home.store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(home.store)]
    assert machine.enter(mount, "mount").wait() == 0  # before the nodes, which take over what is mounted
    machine.cluster(1)
    uri = f"sqlite:///{home.folder / 'mlflow.db'}"
    env = {"MLFLOW_TRACKING_URI": uri}
    driver = machine.presyn(COMMAND, env=env)
    inside = machine.root / str(home.store).lstrip("/")
    until(lambda: list(inside.glob("checkpoints/*/*.pt")))
    filler = os.open(inside / "filler", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(filler, b"x" * 4096):
            pass
    os.close(filler)
    assert driver.wait(timeout=120) == 1
    said = machine.said("driver")
    assert "Traceback" not in said and "No space left on device" in said and "with --store or PRESYN_STORE" in said
    assert not list(inside.rglob("*.partial*"))
    (inside / "filler").unlink()
    assert machine.presyn(COMMAND, env=env).wait(timeout=300) == 0, machine.said("driver")
    home.check(store=inside, uri=uri)


def test_a_token_that_is_missing_or_wrong_is_told_in_one_line(machine, home):
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
    machine.env |= token
    machine.cluster(1)
    address = "--ray-address 10.77.0.1:6379"
    cases = {
        "missing": ({"RAY_AUTH_TOKEN": ""}, "wants a token"),
        "wrong": ({"RAY_AUTH_TOKEN": "b" * 64}, "wants a token"),
        "dead": ({}, "could not be reached or started at 10.77.0.1:6380"),
    }
    for name, (env, cause) in cases.items():
        began = time.monotonic()
        words = f"{COMMAND} {address if name != 'dead' else address.replace('6379', '6380')}"
        assert machine.presyn(words, name, env=env).wait(timeout=60) == 1
        assert cause in machine.said(name) and "Traceback" not in machine.said(name), machine.said(name)
        assert time.monotonic() - began < 60  # 15 s of them at most for Ray; the rest is Python's start on a busy machine
    assert machine.presyn(f"{COMMAND} {address}").wait(timeout=300) == 0, machine.said("driver")
    home.check()
