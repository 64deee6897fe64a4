"""The command line."""

import argparse
import io
import shlex
import signal
import sys
import threading

from pipeline.cli.stages import STAGES
from pipeline.cli.upkeep import UPKEEP
from presyn import PresynError
from presyn.errors import hide_passwords

COMMANDS = {**STAGES, **UPKEEP}


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog="presyn", description="Presynaptic consolidation (Schug, Benzing & Steger, eLife 2021), reproduced."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        p = commands.add_parser(name, help=command.help, description=command.help[0].upper() + command.help[1:] + ".")
        command.options(p)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = arguments if arguments is not None else sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without the signs of a table loses these, not the table
    args = parser().parse_args(words)
    args.command_line = shlex.join(["presyn", *words])
    _terminated.clear()
    if threading.current_thread() is threading.main_thread():  # SIGTERM, as SLURM sends it, ends as Ctrl-C does
        signal.signal(signal.SIGTERM, _terminate)
    try:
        return COMMANDS[args.command].do(args)
    except PresynError as e:
        print(f"presyn: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"presyn: {e.filename or 'a file'} cannot be read or written ({e.strerror or e}).", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if arguments is None:
            _deaf()
        again = hide_passwords(shlex.join(["presyn", *(w for w in words if w != "--fresh")]))  # which would begin once more
        print(f"\npresyn: stopped. What is finished is kept; go on with: {again}", file=sys.stderr)
        return 143 if _terminated.is_set() else 130


_terminated = threading.Event()  # SIGTERM came; what the handler raises can arrive as another KeyboardInterrupt


def _deaf() -> None:
    """Hear no more signals: what is left is to end the workers, which takes a moment and must not be cut off."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _terminate(*_: object) -> None:
    _terminated.set()
    raise KeyboardInterrupt
