"""Real Ray clusters on one machine: every node has namespaces of its own (network, processes, mounts, host name), and a cable
to a switch that leads nowhere else."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
HEAD = "10.77.0.1"


def possible() -> bool:
    """Whether this machine lets us make namespaces."""
    try:
        made = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "-u", "true"], capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return made.returncode == 0


class Machine:
    """A network with addresses of its own and what is started in it.

    Args:
        home: A folder for logs.
        nodes: Addresses to have.
    """

    def __init__(self, home: Path, nodes: int = 4, env: dict[str, str] | None = None) -> None:
        self.home, self.started, self.hosts, self.first = home, [], {}, {}
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PRESYN_", "MLFLOW_"))}
        self.env |= {"RAY_AUTH_MODE": "disabled", "HOME": str(home), "PYTHONPATH": str(ROOT), **(env or {})}
        hosts = home / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"10.77.0.{i} node{i}\n" for i in range(1, nodes + 1)))
        # Ray says where it is in /tmp/ray; a folder of our own keeps it from the Rays outside, and theirs from us.
        ready = home / "ready"
        mounts = f"mount --bind {hosts} /etc/hosts; mkdir -p /tmp/ray; mount -t tmpfs tmpfs /tmp/ray"
        setup = f"ip link add br0 type bridge; ip link set br0 up; {mounts}; touch {ready}; exec sleep 100000"
        self.keeper = self._start(["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "sh", "-c", setup], "keeper")
        until(ready.exists)
        self.inside: int = next(p.pid for p in psutil.Process(self.keeper.pid).children())

    @property
    def root(self) -> Path:
        """The files of this machine as seen inside."""
        return Path(f"/proc/{self.inside}/root")

    def _start(self, command: list[str], name: str, **how: object) -> subprocess.Popen:
        log = (self.home / f"{name}.log").open("a")
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=self.env, start_new_session=True, **how)
        log.close()
        self.started.append(process)
        return process

    def enter(self, command: list[str], name: str, env: dict[str, str] | None = None, at: int | None = None):
        """Start a command inside, on a node if one is given; its output goes to the log of that name."""
        words = [f"{k}={v}" for k, v in (env or {}).items()]
        spaces = ["-t", str(self.first[at]), "-n", "-u"] if at else ["-t", str(self.inside), "-n"]
        return self._start(["nsenter", *spaces, "-m", "-p", f"--wd={self.home}", "env", *words, *command], name)

    def node(self, number: int, *options: str, before: str = "", env: dict[str, str] | None = None) -> subprocess.Popen:
        """Start a node of Ray, the first one as the head.

        Args:
            number: From 1; its address ends with it.
            options: For ray start.
            before: Shell commands on the node, such as mounts that only it sees.
            env: More of the environment.
        """
        place = ["--head", "--port=6379", "--include-dashboard=false"] if number == 1 else [f"--address={HEAD}:6379"]
        ray = [str(BIN / "ray"), "start", *place, f"--node-ip-address=10.77.0.{number}", "--disable-usage-stats", *options]
        return self.host(number, [*ray, "--block"], before, env)

    def host(self, number: int, command: list[str], before: str = "", env: dict[str, str] | None = None) -> subprocess.Popen:
        """Start a command on a node of its own, which Ray does not know yet."""
        plugged = self.home / f"plugged{number}"
        plugged.unlink(missing_ok=True)
        network = f"ip link set lo up; ip addr add 10.77.0.{number}/24 dev e0; ip link set e0 up; hostname node{number}"
        script = f"while [ ! -e {plugged} ]; do sleep 0.05; done\n{network}\n{before}\nexec {' '.join(command)}"
        spaces = ["unshare", "-n", "-u", "-m", "-p", "-f", "--kill-child", "--mount-proc"]
        self.hosts[number] = self.enter([*spaces, "sh", "-c", script], f"node{number}", env=env)
        until(lambda: self._waiting(number) is not None)
        self.first[number] = self._waiting(number)
        outside = ["nsenter", "-t", str(self.inside), "-n", "sh", "-c"]
        cable = f"ip link add v{number} type veth peer name e0 netns {self.first[number]}; ip link set v{number} master br0 up"
        subprocess.run([*outside, f"ip link del v{number} 2>/dev/null; {cable}"], check=True)
        plugged.touch()
        return self.hosts[number]

    def _waiting(self, number: int) -> int | None:
        """The shell of a node that waits for its cable; it becomes what is started there."""
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(self.hosts[number].pid).children(recursive=True)
            return next((p.pid for p in below if p.cmdline()[:1] == ["sh"]), None)
        return None

    def kill(self, number: int) -> None:
        """Kill all that runs on a node."""
        process = psutil.Process(self.hosts[number].pid)
        for p in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                p.kill()

    def cluster(self, nodes: int, cpus: int = 1) -> None:
        """A head and other nodes, each with so many cores."""
        self.node(1, f"--num-cpus={cpus}")
        self.wait_for(1)
        for number in range(2, nodes + 1):
            self.node(number, f"--num-cpus={cpus}")
            self.wait_for(number)  # in the folder that they share, two that start together can choose the same names

    def wait_for(self, nodes: int) -> None:
        """Wait until so many nodes have joined."""
        logs = [f"node{i}" for i in range(1, nodes + 1)]
        until(lambda: all("Ray runtime started" in self.said(log) for log in logs))

    def presyn(self, words: str, name: str = "driver", env: dict[str, str] | None = None) -> subprocess.Popen:
        """Start presyn on the head, in the home folder."""
        return self.enter([sys.executable, "-m", "pipeline.cli", *words.split()], name, env=env, at=1)

    def said(self, name: str) -> str:
        path = self.home / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def raylets(self) -> list[psutil.Process]:
        return self.processes("raylet/raylet")

    def processes(self, word: str) -> list[psutil.Process]:
        """Processes inside whose command has this word."""
        processes = []
        for p in psutil.Process(self.keeper.pid).children(recursive=True):
            processes += [p] if word in _command(p) else []
        for started in self.started:
            if started.poll() is None:
                for p in [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]:
                    if word in _command(p) and p not in processes:
                        processes.append(p)
        return processes

    def close(self) -> None:
        for process in reversed(self.started):  # with the first process of a pid namespace all others in it end
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        psutil.Process(self.inside).kill() if psutil.pid_exists(self.inside) else None
        for process in self.started:
            process.wait(timeout=30)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def spread(number: int, first: float, last: float, rng: random.Random) -> list[float]:
    """So many random moments between two, in any order: one in each of as many equal parts, so that few meet every stretch."""
    width = (last - first) / number
    moments = [first + (part + rng.random()) * width for part in range(number)]
    rng.shuffle(moments)
    return moments


def until(condition, seconds: float = 120, step: float = 0.1) -> None:
    """Wait for a state, generously."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(step)
    raise AssertionError("it did not come to that in time")
