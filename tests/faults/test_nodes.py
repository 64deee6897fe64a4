"""Nodes that die, come late, or cannot train: the others do all the work, and it is said who was left out and why."""

import sys

from conftest import COMMAND
from nodes import BIN, HEAD, until


def test_a_node_that_is_killed_loses_nothing(machine, home):
    machine.cluster(3)
    driver = machine.presyn(COMMAND)
    until(lambda: home.count_checkpoints() >= 4)
    machine.kill(2)
    assert driver.wait(timeout=300) == 0, machine.said("driver")
    assert "joined Ray at 10.77.0.1:6379: 3 nodes, 3 CPUs" in machine.said("driver")
    assert "Traceback" not in machine.said("driver")
    home.check()


def test_a_node_that_joins_late_gets_work(machine, home):
    machine.cluster(1)
    driver = machine.presyn(COMMAND)
    until(lambda: home.count_checkpoints() >= 1)
    machine.node(2, "--num-cpus=1")
    assert driver.wait(timeout=300) == 0, machine.said("driver")
    assert home.hosts() == {"node1", "node2"}
    home.check()


def test_bad_nodes_of_each_kind_are_left_out_and_named(machine, home):
    packages = f"{sys.prefix}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    home.store.mkdir()
    (home.folder / "empty").mkdir()
    machine.node(1, "--num-cpus=1")
    machine.wait_for(1)
    machine.node(2, "--num-cpus=1", before=f"mount --bind {home.folder}/empty {home.store}")
    machine.wait_for(2)
    machine.node(3, "--num-cpus=1", before=f"mount -t tmpfs tmpfs {packages}/torch")
    machine.wait_for(3)
    machine.node(4, "--num-cpus=1", "--num-gpus=1")
    machine.wait_for(4)
    assert machine.presyn(COMMAND).wait(timeout=300) == 0, machine.said("driver")
    said = machine.said("driver")
    assert "left out node2: the store is not shared with this node" in said and "--store or PRESYN_STORE" in said
    assert "left out node3: " in said and "torch" in said
    assert "left out node4: Ray counts a GPU there that torch cannot use" in said and "--num-gpus=0" in said
    assert home.hosts() == {"node1"}
    home.check()


def test_when_no_node_is_left_the_command_ends_with_the_reasons(machine, home):
    home.store.mkdir()
    (home.folder / "empty").mkdir()
    machine.node(1, "--num-cpus=0")
    machine.wait_for(1)
    machine.node(2, "--num-cpus=1", before=f"mount --bind {home.folder}/empty {home.store}")
    machine.wait_for(2)
    # The head can train nothing, but nothing is wrong with it: the work waits, and it is said for what.
    driver = machine.presyn(COMMAND)
    until(lambda: "waiting for 1 CPU for a cohort; the cluster has 0 CPU" in machine.said("driver"))
    machine.node(3, "--num-cpus=1")
    assert driver.wait(timeout=300) == 0, machine.said("driver")
    assert home.hosts() == {"node3"}
    home.check()


def test_a_node_without_code_or_images_is_sent_both(machine, home):
    packages = f"{sys.prefix}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    hidden = f"mount -t tmpfs tmpfs {packages}/sklearn/datasets/data; unset PYTHONPATH; cd /tmp"
    machine.node(1, "--num-cpus=0")
    machine.wait_for(1)
    machine.node(2, "--num-cpus=1", before=hidden)
    machine.wait_for(2)
    assert machine.presyn(COMMAND).wait(timeout=300) == 0, machine.said("driver")
    assert home.hosts() == {"node2"}
    home.check()


def test_clocks_that_differ_between_nodes_change_nothing(machine, home):
    late = home.folder / "late"
    late.mkdir()
    (late / "sitecustomize.py").write_text("import time\nnow = time.time\ntime.time = lambda: now() - 3600\n")
    machine.node(1, "--num-cpus=1")
    machine.wait_for(1)
    machine.node(2, "--num-cpus=1", env={"PYTHONPATH": str(late)})
    machine.wait_for(2)
    assert machine.presyn(COMMAND).wait(timeout=300) == 0, machine.said("driver")
    ends = {r["provenance"]["host"]: r["ended"][-1] for r in home.rows().values()}
    assert ends["node1"] - ends["node2"] > 1800, "its clock was another"
    home.check()


def test_symmetric_run_joins_the_cluster_that_it_started(machine, home):
    command = [str(BIN / "ray"), "symmetric-run", "--address", f"{HEAD}:6379", "--min-nodes", "2", "--num-cpus", "1"]
    command += ["--disable-usage-stats", "--", sys.executable, "-m", "pipeline.cli", *COMMAND.split()]
    path = f"export PATH={BIN}:$PATH"  # it calls ray by its name
    first = machine.host(1, command, path)
    machine.host(2, command, path)
    assert first.wait(timeout=300) == 0, machine.said("node1")
    assert "joined Ray at 10.77.0.1:6379: 2 nodes, 2 CPUs" in machine.said("node1")
    assert home.hosts() == {"node1", "node2"}
    home.check()
