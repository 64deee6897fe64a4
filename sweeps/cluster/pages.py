"""Ray prints pages by default: they go to a log file, which the last line of the command names."""

import atexit
import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path


def quiet(log: Path) -> None:
    """Send what Ray has to say to a file. Ctrl-C becomes KeyboardInterrupt, as everywhere else."""
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
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log, delay=True)
    for name in ("ray", "ray.tune", "ray.train"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.ERROR)
        logger.handlers, logger.propagate = [handler], False
    _redirect(log)


def _redirect(log: Path) -> None:
    """Let what Ray's C++ prints go to the log; what Python prints on stderr stays where it is."""
    try:
        if sys.stderr.fileno() != 2:
            return
    except (OSError, AttributeError, ValueError):
        return
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 2)
    os.close(target)
    sys.stderr = terminal
    atexit.register(_name_log, log)


def _name_log(log: Path) -> None:
    """Print, as the last line of this process, where Ray's messages are; if there are none, the file is removed."""
    if log.exists() and log.stat().st_size == 0:
        log.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            log.parent.rmdir()
    elif log.exists():
        print(f"presyn: what Ray itself said is in {log}", file=sys.stderr)
