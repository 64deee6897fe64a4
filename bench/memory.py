"""Memory of this process, on every system."""

import importlib
import sys
from pathlib import Path
from typing import Any


def memory_mib(name: str) -> float:
    """MiB of memory of this process, as Linux tells it; elsewhere the peak.

    Args:
        name: VmRSS, what it holds now, or VmHWM, the most it has held.
    """
    status = Path("/proc/self/status")  # getrusage inherits the peak of the process that started this one
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
    if sys.platform == "win32":
        info: Any = importlib.import_module("psutil").Process().memory_info()
        return info.peak_wset / 2**20
    resource: Any = importlib.import_module("resource")
    return peak_mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.platform)


def peak_mib(ru_maxrss: int, platform: str) -> float:
    """MiB of what getrusage says, which is bytes on macOS and KiB elsewhere."""
    return ru_maxrss / (2**20 if platform == "darwin" else 2**10)
