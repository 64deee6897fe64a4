"""The paper's experiments and those of users, the store, MLflow, statistics, and the command line."""

import os
import signal
import sys
import threading

__version__ = "0.1.0"


def _stop(*_: object) -> None:
    os.write(2, b"\npresyn: stopped.\n")
    os._exit(130)  # this process has done nothing yet


_is_command = os.path.basename(sys.argv[0] if sys.argv else "") in ("presyn", "-m")  # noqa: PTH119 - pathlib takes its time
if _is_command and threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, _stop)  # until `pipeline.cli.main` begins; a traceback of imports tells nobody anything
