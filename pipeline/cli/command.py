"""The command that was given, for notes and messages."""

from contextvars import ContextVar

given_command: ContextVar[str] = ContextVar("given_command", default="presyn")
"""Its words as a shell reads them."""


def given_name() -> str:
    """The program and the name of the command, such as "presyn search"."""
    return " ".join(given_command.get().split()[:2])
