"""What the process does that speaks to Ray: it joins or starts Ray, and drives the work that it is sent.

It reads requests from its standard input and says what comes of them on its standard output, both as pickles. Whatever Ray
prints goes to its standard error, which is a log file. See `sweeps.cluster.ray_process` for the other end.
"""

import contextlib
import logging
import os
import pickle
import queue
import secrets
import shutil
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import torch

import presyn
from presyn import METHODS, PresynError
from presyn.device import usable_cores
from sweeps.cluster.ray_process import RayLost, session_members

REQUESTS: "queue.SimpleQueue[tuple[Any, ...] | None]" = queue.SimpleQueue()
"""What was asked for and is not done; None at the end."""


class _Voice:
    """Says things to the process that this one belongs to, from any thread."""

    def __init__(self) -> None:
        self.stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what Ray prints
        self.lock = threading.Lock()

    def say(self, kind: str, content: Any = None) -> None:
        with self.lock:
            pickle.dump((kind, content), self.stream)
            self.stream.flush()


def main() -> None:
    """Serve until the other end closes its pipe or dies."""
    folder = Path(sys.argv[1])
    voice = _Voice()
    threading.Thread(target=_read_requests, args=(folder,), daemon=True).start()
    threading.Thread(target=_watch_parent, args=(folder, os.getppid()), daemon=True).start()
    _quiet()
    while (request := REQUESTS.get()) is not None:
        name, *arguments = request
        try:
            if name == "join":
                _join(voice, folder, *arguments)
            elif name == "nodes":
                voice.say("nodes", _nodes())
            else:
                voice.say("done", _train(voice, **arguments[0]))
        except RayLost as e:
            voice.say("lost", str(e))
        except PresynError as e:
            voice.say("failed", str(e))
        except Exception as e:  # Ray raises what its parts do
            logging.getLogger(__name__).exception("%s", name)
            reason = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
            voice.say("lost" if name == "train" else "failed", f"Ray failed: {reason}")
    with contextlib.suppress(Exception):
        import ray

        ray.shutdown()


def _read_requests(folder: Path) -> None:
    """Queue requests; when there can be no more, the other end is done or dead."""
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            REQUESTS.put(pickle.load(sys.stdin.buffer))
    REQUESTS.put(None)
    time.sleep(20)  # the other end waits for less; so it is dead
    _end(folder)


def _watch_parent(folder: Path, parent: int) -> None:
    """End when the process that this one belongs to is dead; a fork of it may still hold the pipe."""
    while os.getppid() == parent:
        time.sleep(1)
    _end(folder)


def _end(folder: Path) -> None:
    """End this process and all that it started, which nobody else will do any more."""
    for process in session_members(os.getsid(0) if hasattr(os, "getsid") else -1):
        if process != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)  # this process is nobody's but ours


def _quiet() -> None:
    """Settings of Ray and Tune for programs that show their own progress."""
    for name, value in {
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a box even when silent
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # files that nobody reads, written at every report
        "TUNE_GLOBAL_CHECKPOINT_S": "100000000",  # what Tune would restore from is not used
        "TUNE_MAX_PENDING_TRIALS_PG": "64",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_DEDUP_LOGS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _join(voice: _Voice, folder: Path, address: str | None, cores: int | None) -> None:
    import ray

    from sweeps import driver  # noqa: F401 - with torch, before the time runs in which the cluster must answer

    voice.say("ready")
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=_code_for_workers())
    else:
        _start_local(folder, cores)
    # A batch system sends SIGTERM to all processes of a job; the one whose this is then ends it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    voice.say("joined")


def _start_local(folder: Path, cores: int | None) -> None:
    import ray

    has_token = any(os.environ.get(n) for n in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if not has_token:  # else Ray writes one to ~/.ray, after which every Ray of this user wants it
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    usable, overridden = usable_cores(), os.environ.get("RAY_OVERRIDE_RESOURCES")
    ray.init(
        address="local",
        num_cpus=None if overridden else min(usable, cores or usable),
        # Ray counts GPUs by their driver, also such as torch cannot use.
        num_gpus=None if overridden or torch.cuda.is_available() else 0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(folder),
        # Ray's monitor of memory would kill all workers, idle ones too, when somebody else's program takes the memory. The
        # system's own kills the largest process, which then goes on from its checkpoint.
        _system_config={"memory_monitor_refresh_ms": 0},
    )


def _code_for_workers() -> dict[str, Any]:
    """The code that workers need, which Ray brings to nodes that have none, or another version."""
    root = Path(presyn.__file__).parent
    return {"py_modules": [str(root), str(Path(__file__).parents[1])]}


def _nodes() -> list[dict[str, float]]:
    import ray

    return [n["Resources"] for n in ray.nodes() if n["Alive"]]


def _train(
    voice: _Voice, members: Any, checkpoints: Any, cluster: Any, sizes: Any, joined: bool, methods: Any
) -> dict[str, str]:
    """Train members once; returns run id -> why, of runs that could not be trained."""
    METHODS.update(methods)
    from sweeps.cluster.nodes import Setup, digest_code, store_images
    from sweeps.driver import Driver

    datasets = {b: b.load(cluster.data) for b in {m.run.benchmark for m in members}}
    setup = Setup(checkpoints, cluster, digest_code(), store_images(datasets), methods)
    return Driver(members, setup, sizes, voice.say, joined).run()
