"""Find the Ray cluster to train on as Ray's own tools do, join it or start one on this machine, and notice when it is away."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import presyn
from presyn import PresynError
from presyn.device import usable_cores
from sweeps.cluster import Cluster
from sweeps.cluster.pages import quiet

PROBE_SECONDS = 12.0  # in which a cluster must answer
AWAY_SECONDS = 15.0  # without an answer, after which a cluster counts as away


def find_cluster(address: str | None) -> str | None:
    """The address of the cluster to join: the one given, else that of a Ray that runs on this node; None if there is none.

    Raises:
        PresynError: a running one is asked for (auto), and there is none.
    """
    if address and address != "auto":
        return None if address == "local" else address
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"  # where `ray start` says it
    try:
        last_address = file.read_text().strip()
    except OSError:
        last_address = ""
    if last_address and _runs_here(last_address):
        return last_address
    if address == "auto":
        raise PresynError("no Ray runs on this node, which RAY_ADDRESS=auto asks for: start one with ray start, or unset it.")
    return None


def _runs_here(address: str) -> bool:
    """Whether a node of this cluster runs on this machine; the file stays behind when Ray is killed."""
    processes = Path("/proc").glob("[0-9]*/cmdline")
    for process in processes:
        with contextlib.suppress(OSError):
            command = process.read_bytes()
            if b"raylet" in command and address.encode() in command:
                return True
    return sys.platform != "linux" and _answers(address)


def _answers(address: str) -> bool:
    """Whether something listens at an address, as host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
        return True
    except (OSError, ValueError, OverflowError):
        return False


def join_cluster(cluster: Cluster, log: Path, say: Callable[[str], None]) -> bool:
    """Join the cluster, or start one on this machine, which stays until this process ends; True if it is one that was joined.

    Args:
        cluster: Its address.
        log: A file for what Ray itself has to say.
        say: Prints a line on what was joined.

    Raises:
        PresynError: it cannot be reached or started, with the cause.
    """
    import ray

    address = find_cluster(cluster.ray_address)
    if ray.is_initialized():  # by an earlier stage
        return address is not None
    quiet(log)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            _probe(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=_code_for_workers())
        else:
            _start_local(ray)
    except PresynError:
        raise
    except Exception as e:  # Ray raises what its parts do
        place = f"joined at {address}" if address else "started on this machine"
        reason = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise PresynError(f"Ray cannot be {place}: {reason} (more in {log})") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end this process without a word
    if address:
        say(f"{describe(address)}. Should it end, the same command goes on.")
    return address is not None


def _start_local(ray: Any) -> None:
    has_token = any(os.environ.get(n) for n in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if not has_token:  # else Ray writes one to ~/.ray, after which every Ray of this user wants it
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray.init(
        address="local",
        num_cpus=None if os.environ.get("RAY_OVERRIDE_RESOURCES") else usable_cores(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=_short_folder(),
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(_folders_of_code())}},
    )


def _folders_of_code() -> list[str]:
    """Where workers find this code and the user's.

    An empty entry would be the folder in which a worker happens to work, and a random.py there would stand for Python's own.
    """
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [str(Path(presyn.__file__).parent.parent), *(str(Path(folder).absolute()) for folder in folders if folder)]


LONGEST_FOLDER = 40
"""Letters of a folder under which the names of Ray's sockets still fit into the 107 that a socket's name may have."""


def _short_folder() -> str | None:
    """Where Ray keeps its sockets, if the usual folder is too deep for that or belongs to somebody else; else None."""
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    folder = Path(usual) / "ray"
    is_usable = os.access(folder, os.W_OK | os.X_OK) or not folder.exists()
    if len(usual) <= LONGEST_FOLDER and is_usable:
        return None
    return f"{'/tmp' if os.access('/tmp', os.W_OK) else '/dev/shm'}/ray-{os.getuid()}"


def _code_for_workers() -> dict[str, Any]:
    """The code that workers need, which Ray brings to nodes that have none, or another version."""
    root = Path(presyn.__file__).parent
    return {"py_modules": [str(root), str(Path(__file__).parents[1])]}


def _probe(address: str) -> None:
    """See in a process of its own whether the cluster takes us: Ray itself tries for minutes, and hides the cause.

    Raises:
        PresynError: it does not, and why.
    """
    if not _answers(address):
        raise PresynError(
            f"Ray could not be reached or started at {address}. Check RAY_ADDRESS (or --ray-address), and that Ray runs there "
            "(ray status): nothing answers."
        )
    code = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level=40)"
    command = [sys.executable, "-c", code, address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        output: list[str] = []
        reader = threading.Thread(target=lambda: output.extend(iter(process.stderr.readline, "")), daemon=True)  # type: ignore[union-attr]
        reader.start()
        deadline = time.monotonic() + PROBE_SECONDS
        while process.poll() is None and time.monotonic() < deadline and not _explain(output):
            time.sleep(0.05)
        running = process.poll() is None
        process.kill()
        process.wait()
        reader.join(2)
    if running or process.returncode:
        cause = _explain(output) or (
            f"it did not answer within {PROBE_SECONDS:.0f} s" if running else (output or ["no word"])[-1].strip()
        )
        raise PresynError(f"Ray at {address} cannot be joined: {cause}")


def _explain(output: list[str]) -> str:
    """Why Ray did not join, from the lines that it printed; empty if they do not say."""
    text = "".join(output)
    if "InvalidAuthToken" in text or "AuthenticationError" in text:
        return (
            "it wants a token, and the one here is missing or wrong. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN (or "
            "~/.ray/auth_token) to that of the cluster, which ray get-auth-token prints on its head."
        )
    if "ersion mismatch" in text:
        lines = [line.strip() for line in text.splitlines() if "Ray:" in line or "Python:" in line]
        return f"its versions are not those here ({'; '.join(lines)}). Use the same Ray and Python here and there."
    return ""


def cluster_slots(cluster: Cluster) -> int | None:
    """Cohorts that the cluster trains at the same time; None if there is none to join, or it has not been joined yet."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized() or find_cluster(cluster.ray_address) is None:
        return None
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    kind = cluster.kinds(sum(n.get("GPU", 0) for n in nodes))[0]
    return sum(cluster.slots(kind, n) for n in nodes)


def describe(address: str) -> str:
    """One line on the cluster: its nodes, cores and GPUs."""
    import ray

    nodes = [n for n in ray.nodes() if n["Alive"]]
    total: Counter = Counter()
    for node in nodes:
        total["CPU"] += int(node["Resources"].get("CPU", 0))
        kind = next((r.removeprefix("accelerator_type:") for r in node["Resources"] if r.startswith("accelerator_type:")), "")
        if node["Resources"].get("GPU"):
            total[f"GPU {kind}".strip()] += int(node["Resources"]["GPU"])
    devices = ", ".join(f"{n} {k}" + ("s" if k == "CPU" and n != 1 else "") for k, n in total.items())
    return f"joined Ray at {address}: {len(nodes)} node{'s' * (len(nodes) != 1)}, {devices}"


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """A context in which runs are trained on the cluster; should it be away meanwhile, this process ends with one line.

    Ray would end it with a page, or hang. Outside this context, and after somebody has shut Ray down, nothing is ended.
    """
    import ray

    address, over = ray.get_runtime_context().gcs_address, threading.Event()
    threading.Thread(target=_watch, args=(address, over), daemon=True, name="watch of Ray").start()
    try:
        yield
    finally:
        over.set()


def _watch(address: str, over: threading.Event) -> None:
    """End this process when nothing has answered at the address for a while, before it is over."""
    import ray

    last_answer = time.monotonic()
    while not over.wait(3) and ray.is_initialized():
        if _answers(address):
            last_answer = time.monotonic()
        elif time.monotonic() - last_answer > AWAY_SECONDS and not over.is_set():
            print(
                f"\npresyn: the Ray cluster at {address} is gone: its head does not answer. What is finished is in the "
                "store. Start the cluster again if it was one, then run the same command again: it goes on.",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)
