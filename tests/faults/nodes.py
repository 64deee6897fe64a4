"""Real Ray clusters on one machine: every node is a raylet in namespaces of its own (processes, mounts, host name), and all of
them share a network that ends at this machine."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
HEAD = "10.77.0.1"
PORTS = ["--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]


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
        self.home, self.started, self.hosts = home, [], {}
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PRESYN_", "MLFLOW_"))}
        self.env |= {"RAY_AUTH_MODE": "disabled", "HOME": str(home), "PYTHONPATH": str(ROOT), **(env or {})}
        addresses = "".join(f"ip addr add 10.77.0.{i}/32 dev lo; " for i in range(1, nodes + 1))
        # Ray says where it is in /tmp/ray; this keeps it from the Rays outside, and theirs from us.
        ready = home / "ready"
        hosts = home / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"10.77.0.{i} node{i}\n" for i in range(1, nodes + 1)))
        mounts = f"mount --bind {hosts} /etc/hosts; mkdir -p /tmp/ray; mount -t tmpfs tmpfs /tmp/ray"
        setup = f"ip link set lo up; {addresses}{mounts}; touch {ready}; exec sleep 100000"
        self.keeper = self._start(["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "sh", "-c", setup], "keeper")
        until(ready.exists)
        self.inside = next(p.pid for p in psutil.Process(self.keeper.pid).children())

    def _start(self, command: list[str], name: str, **how: object) -> subprocess.Popen:
        log = (self.home / f"{name}.log").open("a")
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=self.env, start_new_session=True, **how)
        log.close()
        self.started.append(process)
        return process

    def enter(self, command: list[str], name: str, cwd: Path | None = None, env: dict[str, str] | None = None):
        """Start a command inside; its output goes to the log of that name."""
        words = [f"{k}={v}" for k, v in (env or {}).items()]
        inside = ["nsenter", "-t", str(self.inside), "-n", "-m", "-p", f"--wd={cwd or self.home}", "env", *words, *command]
        return self._start(inside, name)

    def node(self, number: int, *options: str, before: str = "", env: dict[str, str] | None = None) -> subprocess.Popen:
        """Start a node of Ray, the first one as the head.

        Args:
            number: From 1; its address ends with it.
            options: For ray start.
            before: Shell commands on the node, such as mounts that only it sees.
            env: More of the environment.
        """
        place = ["--head", "--port=6379", "--include-dashboard=false"] if number == 1 else [f"--address={HEAD}:6379"]
        ray = [str(BIN / "ray"), "start", *place, f"--node-ip-address=10.77.0.{number}", *PORTS, *options, "--block"]
        return self._host(number, ray, before, env)

    def symmetric(self, number: int, command: list[str]) -> subprocess.Popen:
        """Start a command on a node that Ray does not know yet."""
        return self._host(number, command, f"export RAY_NODE_IP_ADDRESS=10.77.0.{number}", None)

    def _host(self, number: int, command: list[str], before: str, env: dict[str, str] | None) -> subprocess.Popen:
        script = f"hostname node{number}; {before}\nexec {' '.join(command)}"
        inside = ["unshare", "-u", "-m", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c", script]
        self.hosts[number] = self.enter(inside, f"node{number}", env=env)
        return self.hosts[number]

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
            self.wait_for(number)  # two that start at the same time can choose the same port

    def wait_for(self, nodes: int) -> None:
        """Wait until so many nodes have joined."""
        logs = [f"node{i}" for i in range(1, nodes + 1)]
        until(lambda: all("Ray runtime started" in self.said(log) for log in logs))

    def presyn(self, words: str, name: str = "driver", env: dict[str, str] | None = None) -> subprocess.Popen:
        """Start presyn on the head, in the home folder."""
        return self.enter([sys.executable, "-m", "pipeline.cli", *words.split()], name, env=env)

    def said(self, name: str) -> str:
        path = self.home / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def raylets(self) -> list[psutil.Process]:
        return self.processes("raylet/raylet")

    def processes(self, word: str) -> list[psutil.Process]:
        """Processes inside whose command has this word."""
        found = []
        for p in psutil.Process(self.keeper.pid).children(recursive=True):
            found += [p] if word in _command(p) else []
        for started in self.started:
            if started.poll() is None:
                for p in [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]:
                    if word in _command(p) and p not in found:
                        found.append(p)
        return found

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


def until(condition, seconds: float = 120, step: float = 0.1) -> None:
    """Wait for a state, generously."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(step)
    raise AssertionError("it did not come to that in time")
