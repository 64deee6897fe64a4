"""Find the Ray cluster to train on, as Ray's own tools do, and see whether it answers."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from presyn import PresynError
from presyn.device import usable_cores
from sweeps.cluster import Cluster


@dataclass(frozen=True)
class Place:
    """A Ray cluster to join.

    Attributes:
        address: Of its head, as host:port.
        source: How it was found, in words.
    """

    address: str
    source: str


@dataclass(frozen=True)
class _Raylet:
    """A node of a Ray cluster that runs on this machine: the address of its head, its user, and whether `ray start` made it."""

    address: str
    user: int
    by_ray_start: bool


def find_cluster(address: str | None) -> Place | None:
    """The cluster to join: the one given, else that of a Ray that runs on this node; None if there is none.

    Without an address it is the one that `ray start` named last, else one that this user started with `ray start`, whatever its
    --temp-dir. With auto it may be anybody's, as with Ray's own tools.

    Raises:
        PresynError: a running one is asked for (auto), and there is none; or there are several to choose from.
    """
    if address and address != "auto":
        return None if address == "local" else Place(address, "given")
    if joined := _joined_by_this_process():
        return Place(joined, "joined by this process")
    raylets = list(_raylets())
    named = _named_address()
    if named and (any(r.address == named for r in raylets) or (sys.platform != "linux" and answers(named))):
        return Place(named, "runs on this node")
    started = [
        r
        for r in raylets
        if r.by_ray_start and (address == "auto" or r.user == (os.getuid() if hasattr(os, "getuid") else r.user))
    ]
    if address != "auto" or started:
        raylets = started
    addresses = sorted({r.address for r in raylets})
    if len(addresses) > 1:
        raise PresynError(
            f"Several Rays run on this node ({', '.join(addresses)}): name one with --ray-address or RAY_ADDRESS, or start "
            "another with --ray-address local."
        )
    if addresses:
        return Place(addresses[0], "runs on this node")
    if address == "auto":
        raise PresynError("no Ray runs on this node, which RAY_ADDRESS=auto asks for: start one with ray start, or unset it.")
    return None


def refuse_cores(cluster: Cluster) -> None:
    """Raise a PresynError for a cohort that takes more cores than there are here, where no other node can join."""
    usable = usable_cores()
    if cluster.cpus > usable and find_cluster(cluster.ray_address) is None:
        raise PresynError(
            f"--cpus {cluster.cpus} is more than the {usable} core{'s' * (usable != 1)} that this process may use: no cohort "
            f"would ever start. Use at most --cpus {usable}, or a cluster (--ray-address)."
        )


def _joined_by_this_process() -> str:
    """The address of the Ray that this process has joined or started itself, as in a notebook; empty if none."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return ""
    return str(ray.get_runtime_context().gcs_address)


def _named_address() -> str:
    """What `ray start` wrote down last; it stays behind when Ray is killed."""
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _raylets(processes: Path = Path("/proc")) -> Iterator[_Raylet]:
    """The raylets on this machine, where processes can be looked at."""
    for folder in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if not words[0].endswith(b"raylet"):
                continue
            if not _shares_network(folder):
                continue
            address = _gcs_address(words)
            parent = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
            if address:
                yield _Raylet(address, folder.stat().st_uid, _is_ray_start(processes / parent))


def _shares_network(process: Path) -> bool:
    """Whether a process has the network of this one; a container on this machine has another, in which its Ray is."""
    try:
        return (process / "ns" / "net").readlink() == Path("/proc/self/ns/net").readlink()
    except PermissionError:  # another user's
        return True
    except OSError:
        return not process.is_relative_to("/proc")


def _gcs_address(words: list[bytes]) -> str:
    """The address of the head in a raylet's command line."""
    for word in b" ".join(words).split():
        name, _, value = word.partition(b"=")
        if name.replace(b"_", b"-") == b"--gcs-address":
            return value.decode()
    return ""


def _is_ray_start(parent: Path) -> bool:
    """Whether what a raylet was started by is no program that called ray.init, whose Ray ends with it.

    `ray start` itself ends, after which the parent is the first process of the machine or of the job; with --block it stays.
    """
    try:
        words = (parent / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return True
    is_python = b"python" in Path(words[0].decode(errors="replace")).name.encode()
    return not is_python or b"start" in words or b"symmetric-run" in words


def answers(address: str, seconds: float = 5) -> bool:
    """Whether something listens at an address, as host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=seconds).close()
        return True
    except (OSError, ValueError, OverflowError):
        return False
