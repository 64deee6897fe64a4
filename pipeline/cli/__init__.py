"""The command line."""

import atexit
import gc
import io
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

import pipeline
from pipeline import __version__
from pipeline.cli import check, experiments, look, upkeep
from pipeline.cli.command import given_command
from presyn.errors import PresynError, hide_passwords

COMMANDS = {**experiments.COMMANDS, **check.COMMANDS, **look.COMMANDS, **upkeep.COMMANDS}
"""Name -> function; its parameters are the options, its docstring the help."""
Modules = Annotated[
    list[str] | None,
    Parameter(
        help="a file of yours, .py or .yaml, with methods, benchmarks, spaces or experiments (presyn.toml names several)"
    ),
]


def make_app() -> App:
    """The application with all commands."""
    app = App(
        name="presyn",
        help="Presynaptic consolidation (Schug, Benzing & Steger, eLife 2021), reproduced.",
        version=__version__,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=()),
    )
    app.meta.suppress_keyboard_interrupt = False
    app.register_install_completion_command()
    for name, function in COMMANDS.items():
        app.command(function, name=name)

    @app.meta.default
    def launch(*words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], module: Modules = None) -> Any:
        from sweeps.user_code import user_code

        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        if command not in COMMANDS.values():  # help, version and completion need no code of the user's
            return command(*bound.args, **bound.kwargs)
        with user_code(module or ()):
            return command(*bound.args, **bound.kwargs)

    return app


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = arguments if arguments is not None else sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without the signs of a table loses these, not the table
    if arguments is None:
        _leave_working_folder_out()
        _hear_interrupts()
        _collect_garbage_less_often()
    given_command.set(shlex.join(["presyn", *words]))
    _terminated.clear()
    if threading.current_thread() is threading.main_thread():  # SIGTERM, as SLURM sends it, ends as Ctrl-C does
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = make_app().meta(words, exit_on_error=False, print_error=False, result_action="return_value")
        return code if isinstance(code, int) else 0
    except PresynError as e:
        return _fail(str(e))
    except CycloptsError as e:
        return _fail(" ".join(str(e).split()) + " See presyn --help.")
    except BrokenPipeError:  # whoever read what is printed, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # as rich ends a process whose output nobody reads
            return 0
        raise
    except OSError as e:
        return _fail(f"{e.filename or 'a file'} cannot be read or written ({e.strerror or e}).")
    except KeyboardInterrupt:
        if arguments is None:
            _ignore_signals()  # a second one must not cut off what ends the workers
        again = hide_passwords(shlex.join(["presyn", *(w for w in words if w != "--fresh")]))  # which would begin once more
        print(f"\npresyn: stopped. What is finished is kept; go on with: {again}", file=sys.stderr)
        return 143 if _terminated.is_set() else 130
    finally:
        if arguments is None:
            _ignore_signals()


def _leave_working_folder_out() -> None:
    """Import nothing from the working folder because PYTHONPATH has an empty entry: a random.py there would be Python's own."""
    if "" in os.environ.get("PYTHONPATH", "none").split(os.pathsep):
        sys.path[:] = [folder for folder in sys.path if folder and Path(folder).absolute() != Path.cwd()]


def _collect_garbage_less_often() -> None:
    """Spare a command a second or two: what it imports is half a million objects that stay until it ends.

    By default, Python looks for garbage among them again and again while they are made, and once more when it ends.
    """
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)


def _fail(message: str) -> int:
    print(f"presyn: {message}", file=sys.stderr)
    return 1


_terminated = threading.Event()  # SIGTERM came; what the handler raises can arrive as another KeyboardInterrupt


def _hear_interrupts() -> None:
    """Let Ctrl-C be a KeyboardInterrupt; until now, while modules were imported, it ended the process (see `pipeline`)."""
    if signal.getsignal(signal.SIGINT) is pipeline._stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ignore_signals() -> None:
    """Hear no more signals: what is left is to end the workers, which takes a moment and must not be cut off."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _terminate(*_: object) -> None:
    _terminated.set()
    raise KeyboardInterrupt
