"""The process that speaks to Ray on behalf of this one, which never does itself.

Ray ends processes when its head is gone, prints pages, takes over signals and crashes now and then as it ends. All that happens
in a process of its own (see `sweeps.cluster.serve`), which is started when it is needed, hears of work through a pipe, and is
ended together with everything that it started.
"""

import atexit
import contextlib
import os
import pickle
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle

import presyn
from presyn import PresynError
from sweeps.cluster import Cluster
from sweeps.cluster.find import Place, answers, find_cluster

START_SECONDS = 120.0  # in which Python must have imported Ray and torch
JOIN_SECONDS = 30.0  # in which a cluster must answer
LOCAL_SECONDS = 180.0  # in which a Ray on this machine must have started
AWAY_SECONDS = 15.0  # without an answer, after which a cluster counts as away
SILENT_SECONDS = 300.0  # without a word from the process, which says each second that it is there
END_SECONDS = 10.0  # in which the process must end when it is told to

Message = tuple[str, Any]
"""What the process says: its kind, and what belongs to it."""


class RayLost(PresynError):
    """Ray ended, or lost a part that cannot be done without, in the middle of the work; it can be started or joined again."""


class RayProcess:
    """A process that has joined a Ray cluster, or started Ray on this machine.

    Args:
        cluster: Which Ray.
        log: A file for what Ray itself has to say.
        say: Prints a line for the user.

    Attributes:
        place: The cluster that was joined; None for a Ray on this machine.
        log: The file.

    Raises:
        PresynError: it cannot be reached or started, with the cause.
    """

    def __init__(self, cluster: Cluster, log: Path, say: Callable[[str], None]) -> None:
        self.place: Place | None = find_cluster(cluster.ray_address)
        self.log, self.parent = log, os.getpid()
        self._wanted = (cluster.ray_address, cluster.cores)
        self.folder = Path(tempfile.mkdtemp(prefix="presyn-", dir=_short_folder()))
        if self.place:
            source = f", which {self.place.source} (--ray-address local starts another)" if self.place.source != "given" else ""
            say(f"joining Ray at {self.place.address}{source}")
        log.parent.mkdir(parents=True, exist_ok=True)
        self._is_log_named = False
        self._log_start = log.stat().st_size if log.exists() else 0
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        try:
            self.process = self._start()
            self._reader = threading.Thread(target=self._read, daemon=True, name="what the process of Ray says")
            self._reader.start()
            self._join(cluster, say)
        except BaseException:
            self.close(kill=True)
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        # -P, and no empty entry of PYTHONPATH: a random.py in some working folder must not stand for Python's own.
        command = [sys.executable, "-P", "-c", "from sweeps.cluster.serve import main; main()", str(self.folder)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders_of_code())}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for this process; and the session tells what belongs to that one
            )

    def _read(self) -> None:
        """Queue what the process says, until it says no more."""
        assert self.process.stdout
        with contextlib.suppress(Exception):  # whatever a process that is killed leaves of a message
            while True:
                self._messages.put(pickle.load(self.process.stdout))
        self.process.stdout.close()
        self._messages.put(("gone", None))

    def _next(self, seconds: float) -> Message | None:
        """What the process says next, if that is soon; ("gone", None) when it has ended."""
        with contextlib.suppress(queue.Empty):
            return self._messages.get(timeout=seconds)
        return ("gone", None) if self.process.poll() is not None and self._messages.empty() else None

    def _send(self, *request: Any) -> None:
        assert self.process.stdin
        try:
            cloudpickle.dump(request, self.process.stdin)  # users' own classes by value
            self.process.stdin.flush()
        except OSError:
            raise RayLost(f"Ray ended {self._name_log()}") from None

    # Joining.

    def _join(self, cluster: Cluster, say: Callable[[str], None]) -> None:
        self._send("join", self.place.address if self.place else None, cluster.cores)
        self._await("ready", START_SECONDS)
        if self.place and not answers(self.place.address):
            raise PresynError(
                f"Ray could not be reached or started at {self.place.address}. Check RAY_ADDRESS (or --ray-address), and that "
                "Ray runs there (ray status): nothing answers."
            )
        self._await("joined", JOIN_SECONDS if self.place else LOCAL_SECONDS)
        if self.place:
            say(f"{self.describe()}. Should it end, the same command goes on.")

    def _await(self, kind: str, seconds: float) -> Any:
        """Wait for a message; what goes wrong meanwhile is the cluster's fault.

        Raises:
            PresynError: it does not come, with the cause as far as Ray tells it.
        """
        deadline = time.monotonic() + seconds
        while True:
            if message := self._next(0.2):
                got, content = message
                if got == kind:
                    return content
                if got in ("gone", "failed"):
                    raise PresynError(self._cannot(self._explain() or str(content or "its process ended")))
            if cause := self._explain():
                raise PresynError(self._cannot(cause))
            if time.monotonic() > deadline:
                raise PresynError(self._cannot(f"it did not answer within {seconds:.0f} s"))

    def _cannot(self, cause: str) -> str:
        what = f"Ray at {self.place.address} cannot be joined" if self.place else "Ray cannot be started on this machine"
        return f"{what}: {cause.rstrip('.')} {self._name_log()}."

    def _name_log(self) -> str:
        """Where there is more to read; the log then stays."""
        self._is_log_named = True
        return f"(more in {self.log})"

    def _explain(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return explain(file.read().decode(errors="replace"))

    def nodes(self) -> list[dict[str, float]]:
        """The resources of the nodes that are alive."""
        self._send("nodes")
        nodes: list[dict[str, float]] = self._await("nodes", JOIN_SECONDS)
        return nodes

    def describe(self) -> str:
        """One line on the cluster: its nodes, cores and GPUs."""
        assert self.place
        nodes, total = self.nodes(), Counter[str]()
        for node in nodes:
            total["CPU"] += int(node.get("CPU", 0))
            kind = next((r.removeprefix("accelerator_type:") for r in node if r.startswith("accelerator_type:")), "")
            if node.get("GPU"):
                total[f"GPU {kind}".strip()] += int(node["GPU"])
        devices = ", ".join(f"{n} {k}" + ("s" if k == "CPU" and n != 1 else "") for k, n in total.items())
        return f"joined Ray at {self.place.address}: {len(nodes)} node{'s' * (len(nodes) != 1)}, {devices}"

    # Working.

    def train(self, work: dict[str, Any], heard: Callable[[str, Any], None]) -> dict[str, str]:
        """Train what a `sweeps.driver.Driver` is made of; returns run id -> why, of runs that could not be.

        Args:
            work: The driver's arguments; see `sweeps.cluster.serve`.
            heard: Called with what the driver says meanwhile: ("ended", (run id, record, where)), ("steps", number) or
                ("line", text). If it raises, training ends.

        Raises:
            RayLost: Ray ended, and can be started or joined again.
            PresynError: no node can train, or the cluster is away.
        """
        is_done = False
        try:
            self._send("train", work)
            for kind, content in self._hear():
                if kind == "done":
                    is_done = True
                    failed: dict[str, str] = content
                    return failed
                if kind == "failed":
                    raise PresynError(content)
                if kind == "lost":
                    raise RayLost(content)
                heard(kind, content)
            raise AssertionError("unreachable")
        finally:
            if not is_done:
                self.close(kill=True)

    def _hear(self) -> Iterator[Message]:
        """What the process says, for as long as it and the cluster are there.

        Raises:
            RayLost, PresynError: they are not.
        """
        last_word = last_answer = looked_at = time.monotonic()
        while True:
            if message := self._next(0.5):
                kind, content = message
                last_word = time.monotonic()
                if kind == "gone" or kind == "lost":
                    self._refuse_away()
                if kind == "gone":
                    raise RayLost(f"Ray ended {self._name_log()}")
                if kind != "here":
                    yield kind, content
            now = time.monotonic()
            if self.place and now - looked_at > 3:
                looked_at = now
                if answers(self.place.address):
                    last_answer = now
                elif now - last_answer > AWAY_SECONDS:
                    self._refuse_away()
            if now - last_word > SILENT_SECONDS:
                raise RayLost(f"Ray has not answered for {SILENT_SECONDS:.0f} s {self._name_log()}")

    def _refuse_away(self) -> None:
        if self.place and not answers(self.place.address):
            raise PresynError(
                f"The Ray cluster at {self.place.address} is gone: its head does not answer. What is finished is in the store. "
                "Start the cluster again if it was one, then run the same command again: it goes on."
            )

    # Ending.

    def close(self, kill: bool = False) -> None:
        """End the process and all that it started, and remove their folder; does nothing the second time.

        Args:
            kill: Without waiting for what it does now.
        """
        if os.getpid() != self.parent:  # this process was forked from the one whose it is
            return
        process = getattr(self, "process", None)
        if process is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()  # by which it is told to end
            with contextlib.suppress(subprocess.TimeoutExpired):
                # A Ray on this machine is not left politely, where all that belongs to it can be found and ended.
                process.wait(0 if kill or (self.place is None and sys.platform == "linux") else END_SECONDS)
            process.kill()
            with contextlib.suppress(OSError, AttributeError):  # Windows has neither
                os.killpg(process.pid, signal.SIGKILL)
            _kill_session(process.pid)
            process.wait()
            self._reader.join(2)
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self._is_log_named:
            with contextlib.suppress(OSError):
                self.log.unlink()
                self.log.parent.rmdir()

    def serves(self, cluster: Cluster) -> bool:
        """Whether this is the Ray that a cluster asks for."""
        return self._wanted == (cluster.ray_address, cluster.cores)

    @property
    def is_alive(self) -> bool:
        return self.parent == os.getpid() and self.process.poll() is None


processes: list[RayProcess] = []
"""The one that is used, if any; Ray stays for as long as this process, or until something goes wrong."""


def ray_process(cluster: Cluster, log: Path, say: Callable[[str], None]) -> RayProcess:
    """The process that speaks to the Ray of a cluster; one that was started before if it is there; arguments as of it."""
    if processes and not (processes[0].is_alive and processes[0].serves(cluster)):
        end_ray()
    if not processes:
        processes.append(RayProcess(cluster, log, say))
    return processes[0]


@atexit.register
def end_ray() -> None:
    """End the process that speaks to Ray, and a Ray that it started on this machine."""
    while processes:
        processes[-1].close()
        processes.pop()


def cluster_slots(cluster: Cluster) -> tuple[int, str] | None:
    """Cohorts that the cluster trains at the same time, and on what, gpu or cpu; None if there is none to join, or it has not
    been joined yet. A cluster that grows with the work may have no place now."""
    if not processes or processes[0].place is None or not processes[0].is_alive:
        return None
    nodes = processes[0].nodes()
    kind = cluster.kinds(sum(n.get("GPU", 0) for n in nodes))[0]
    return min(sum(cluster.slots(kind, n) for n in nodes), cluster.most_cohorts()), kind


def _kill_session(session: int) -> None:
    """Kill all processes of a session: Ray's own are, wherever their parents have gone."""
    for _ in range(50):
        members = list(session_members(session))
        if not members:
            return
        for member in members:
            with contextlib.suppress(OSError):
                os.kill(member, signal.SIGKILL)
        time.sleep(0.1)


def session_members(session: int, root: Path = Path("/proc")) -> Iterator[int]:
    """The processes of a session that have not ended, where processes can be looked at."""
    for folder in root.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, _, _, its_session = (
                (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:4]
            )
            if int(its_session) == session and state not in "ZX":
                yield int(folder.name)


def folders_of_code() -> list[str]:
    """Where the process and workers on this machine find this code and the user's.

    An empty entry would be the folder in which a worker happens to work, and a random.py there would stand for Python's own.
    """
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [str(Path(presyn.__file__).parent.parent), *(str(Path(folder).absolute()) for folder in folders if folder)]


LONGEST_FOLDER = 25
"""Letters of a folder under which the names of Ray's sockets still fit into the 107 that a socket's name may have."""


def _short_folder() -> str:
    """The folder for temporary files, if its name is short enough for Ray's sockets, else another one."""
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    for folder in (usual, "/tmp", "/dev/shm"):
        if len(folder) <= LONGEST_FOLDER and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return usual


def explain(output: str) -> str:
    """Why Ray did not join, from what it printed; empty if that does not say."""
    if "InvalidAuthToken" in output or "AuthenticationError" in output:
        return (
            "it wants a token, and the one here is missing or wrong. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN (or "
            "~/.ray/auth_token) to that of the cluster, which ray get-auth-token prints on its head."
        )
    if "ersion mismatch" in output:
        lines = [line.strip() for line in output.splitlines() if "Ray:" in line or "Python:" in line]
        return f"its versions are not those here ({'; '.join(lines)}). Use the same Ray and Python here and there."
    return ""
