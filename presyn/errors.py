"""The one exception that presyn raises for input a user can mend."""

import re

_IN_ADDRESS = re.compile(r"://(?:(?!://).)*@", re.DOTALL)
_MALFORMED = re.compile(r"[^\s'\"/@:=]*:(?!//\*\*\*@)[^\s'\"@][^\s'\"]*@")
_AS_OPTION = re.compile(r"(?i)((?:password|passwd|pwd|secret|token|key|auth|credential|signature)s?=)[^&\s'\"]*")


def hide_passwords(text: str) -> str:
    """The text with every password in it hidden, and the user of every address, whatever characters they hold."""
    return _AS_OPTION.sub(r"\1***", _MALFORMED.sub("***@", _IN_ADDRESS.sub("://***@", text)))


class PresynError(Exception):
    """Bad input or a broken environment; the message names the thing and the fix.

    The command line prints the message alone, without a traceback.
    """
