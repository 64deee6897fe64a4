"""Ray itself fails, on this machine and on a cluster: the command goes on or ends in one line, and nothing of Ray stays."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import COMMAND
from nodes import HEAD, ROOT, spread, until

TRIES = int(os.environ.get("PRESYN_INTERRUPTS", "4"))
RULE = ROOT / "presyn" / "methods" / "presynaptic.py"


class Local:
    """A command that starts Ray on this machine, in a session of its own."""

    def __init__(self, home, command, tmp, **environment):
        self.home, self.tmp = home, tmp
        self.log = home.folder / "local.log"
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PRESYN_", "MLFLOW_"))}
        env |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp), "HOME": str(home.folder), **environment}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=home.folder, env=env, stdout=log, stderr=log, start_new_session=True)
        self.seen = set()

    def below(self, word=""):
        """Processes that it started whose command has this word."""
        found = []
        if self.process.poll() is None:
            for p in psutil.Process(self.process.pid).children(recursive=True):
                self.seen.add(p)
                try:
                    found += [p] if word in " ".join(p.cmdline()) else []
                except psutil.Error:
                    continue
        return found

    def wait(self, seconds=600):
        code = self.process.wait(timeout=seconds)
        until(lambda: not [p for p in self.seen if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], seconds=30)
        assert not list(self.tmp.glob("presyn-*")), "the folder of Ray is removed"
        assert "Traceback" not in self.said() and "ray::" not in self.said(), self.said()
        return code

    def said(self):
        return self.log.read_text(errors="replace")


@pytest.fixture
def local(home):
    """Starts commands here, with a folder for temporary files whose name is short enough for Ray."""
    tmp = Path(f"/tmp/f{os.getpid()}")
    tmp.mkdir()
    started = []

    def start(*command, **environment):
        command = command or (sys.executable, "-m", "pipeline.cli", *COMMAND.split(), "--ray-address", "local")
        started.append(Local(home, list(command), tmp, **environment))
        return started[-1]

    yield start
    for command in started:
        for p in [*command.below(), command.process]:
            p.kill()
        command.process.wait()
    shutil.rmtree(tmp, ignore_errors=True)


# Without their raylet, workers end after some seconds; the runs of that case are long enough for it, however fast the machine.
@pytest.mark.parametrize(
    ("home", "part"),
    [((1, 40), "ray::Work"), ((1, 200), "raylet/raylet"), ((1, 40), "sweeps.cluster.serve")],
    indirect=["home"],
)
def test_a_part_of_ray_that_dies_is_started_again(home, local, part):
    command = local()
    until(lambda: home.count_checkpoints() >= 2, seconds=300)
    (dying, *_) = command.below(part)
    before = {i: r["ended"] for i, r in home.rows().items()}
    dying.kill()
    assert command.wait() == 0, command.said()
    assert command.said().count("What it trained goes on from its checkpoints.") == 1
    assert all(home.rows()[i]["ended"] == ended for i, ended in before.items())
    home.check()


@pytest.mark.parametrize("home", [(1, 5)], indirect=True)
def test_ctrl_c_at_any_moment_ends_with_130_and_leaves_no_process(home, local):
    for seconds in spread(TRIES, 3, 30, random.Random()):
        command, moment = local(), time.monotonic() + seconds
        while time.monotonic() < moment and command.process.poll() is None:
            command.below()  # remembers them
            time.sleep(0.2)
        command.process.send_signal(signal.SIGINT)
        assert command.wait() in (130, 0) if command.process.poll() is None else True, command.said()
        assert command.process.returncode == 0 or "stopped. What is finished is kept" in command.said()
        if command.process.returncode == 0:
            shutil.rmtree(home.store)
            shutil.rmtree(home.folder / "out")
    assert local().wait() == 0
    home.check()


NOTEBOOK = """
import sys, time
import ray
from pipeline.cli import main
words = ["search", "--space", "space.yaml", "--cohort", "1", "--results", "out"]
print("first", main([*words, "--ray-address", "local"]), flush=True)
ray.shutdown()  # to free the cores
time.sleep(20)
print("second", main([*words, "--ray-address", "local"]), "still working", flush=True)
"""


@pytest.mark.parametrize("home", [(1, 5)], indirect=True)
def test_a_notebook_that_shuts_ray_down_goes_on(home, local):
    command = local(sys.executable, "-c", NOTEBOOK)
    assert command.wait() == 0, command.said()
    assert "first 0" in command.said() and "second 0 still working" in command.said()


PROGRAM = """
import time
from pipeline.cli import main
print("search", main(["search", "--space", "space.yaml", "--cohort", "1", "--results", "out"]), flush=True)
time.sleep(5)
print("still working", flush=True)
"""


def test_a_program_whose_head_is_lost_while_it_trains_goes_on(machine, home):
    machine.cluster(2)
    program = machine.enter([sys.executable, "-c", PROGRAM], "driver", at=2)
    until(lambda: home.count_checkpoints() >= 2, seconds=300)
    machine.kill(1)
    program.wait(timeout=600)  # in the end the node goes too, and takes its processes along
    said = machine.said("driver")
    assert "search 1" in said and "still working" in said and "is gone: its head does not answer" in said
    assert "Traceback" not in said


def test_a_neighbour_that_takes_the_memory_is_survived(machine, home):
    memory = psutil.virtual_memory()
    room = (3 << 30) / memory.total
    threshold = (memory.total - memory.available) / memory.total + room
    if threshold > 0.85:
        pytest.skip("there is too little memory for a neighbour to take")
    monitor = {"RAY_memory_usage_threshold": f"{threshold:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    machine.node(1, "--num-cpus=1", env=monitor)
    machine.wait_for(1)
    driver = machine.presyn(COMMAND)
    until(lambda: home.count_checkpoints() >= 2, seconds=300)
    work = machine.processes("ray::Work")
    assert work
    hog = f"import time; taken = bytearray({int(1.5 * (3 << 30))}); time.sleep(4)"
    machine.enter([sys.executable, "-c", hog], "hog").wait()
    assert driver.wait(timeout=600) == 0, machine.said("driver")
    said = machine.said("driver")
    assert "Traceback" not in said and len(said.splitlines()) < 40, said
    assert not work[0].is_running(), "the neighbour was large enough"
    assert "goes on from its checkpoints" in said
    home.check()


@pytest.mark.parametrize("home", [(1, 5)], indirect=True)
def test_a_ray_with_a_folder_of_its_own_is_found(machine, home):
    machine.node(1, "--num-cpus=1", f"--temp-dir=/tmp/ray/of{os.getpid()}")  # the folder of this machine alone, and short
    machine.wait_for(1)
    assert machine.presyn(COMMAND).wait(timeout=600) == 0, machine.said("driver")
    said = machine.said("driver")
    assert f"joining Ray at {HEAD}:6379, which runs on this node" in said and "joined Ray at" in said
    home.check()


@pytest.mark.parametrize("home", [(1, 5)], indirect=True)
def test_a_command_takes_no_more_cores_than_it_is_given(machine, home):
    machine.cluster(2, cpus=2)
    driver = machine.presyn(f"{COMMAND} --cores 1")
    most = 0
    while driver.poll() is None:
        most = max(most, len(machine.processes("ray::ImplicitFunc")))
        time.sleep(0.2)
    assert driver.returncode == 0, machine.said("driver")
    assert most == 1
    home.check()


@pytest.mark.parametrize("home", [(1, 5)], indirect=True)
def test_a_rule_that_raises_for_some_members_loses_only_these(machine, home):
    for room in ("presyn", "sweeps", "pipeline", "results/paper"):
        shutil.copytree(ROOT / room, home.folder / "theirs" / room, ignore=shutil.ignore_patterns("__pycache__"))
    rule = home.folder / "theirs" / RULE.relative_to(ROOT)
    text, begin = RULE.read_text(), "    def start(self, weights: Tensor, biases: Tensor) -> State:\n"
    assert begin in text
    raising = '        if float(self.h.p_up.max()) > 0.06:\n            raise ZeroDivisionError("a bug at some parameters")\n'
    rule.write_text(text.replace(begin, begin + raising))
    # An empty entry of PYTHONPATH, as in PYTHONPATH="root:", and a file that must not stand for Python's own.
    (home.folder / "random.py").write_text("raise SystemExit('random.py of the working folder was imported')")
    machine.env["PYTHONPATH"] = f"{home.folder / 'theirs'}:"
    machine.node(1, "--num-cpus=1", env={"PYTHONPATH": str(home.folder / "theirs")})
    machine.wait_for(1)
    code = "import sys; from pipeline.cli import main; sys.exit(main())"
    words = COMMAND.replace("--cohort 1", "--cohort 6").split()
    driver = machine.enter([sys.executable, "-P", "-c", code, *words], "driver", at=1)
    assert driver.wait(timeout=600) == 1, machine.said("driver")
    said = machine.said("driver")
    assert "ZeroDivisionError: a bug at some parameters" in said and "p_up 0.0" in said and "Traceback" not in said
    p_up = [row["config"]["p_up"] for row in home.rows().values()]
    trials = json.loads(next((home.store / "manifests").glob("*.json")).read_text())
    expected = [t["params"]["p_up"] for t in (trials["trials"] if isinstance(trials, dict) else trials)]
    assert sorted(p_up) == sorted(p for p in expected if p <= 0.06) and 0 < len(p_up) < 6


NO_SUCH = """
import errno, fcntl, os
def refuse(*arguments, **options):
    raise OSError({error}, os.strerror({error}))
{function} = refuse
"""


@pytest.mark.parametrize(
    ("function", "error"),
    [("os.link", "errno.EPERM"), ("fcntl.flock", "errno.ENOSYS"), ("fcntl.flock", "errno.ENOLCK")],
)
@pytest.mark.parametrize("home", [(1, 5)], indirect=True)
def test_a_file_system_without_links_or_locks_and_a_folder_of_ray_that_is_somebody_elses(machine, home, function, error):
    site = home.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_SUCH.format(function=function, error=error))
    machine.env["PYTHONPATH"] += f":{site}"
    machine.host(1, ["sleep", "100000"], before="mount -t tmpfs -o ro tmpfs /tmp/ray")
    driver = machine.presyn(COMMAND)
    assert driver.wait(timeout=600) == 0, machine.said("driver")
    assert "Traceback" not in machine.said("driver") and "Warning" not in machine.said("driver")
    home.check()
