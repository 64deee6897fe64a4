"""The one exception that presyn raises for input a user can mend."""

import re

_IN_ADDRESS = re.compile(r"://(?:(?!://).)*@", re.DOTALL)
_AS_OPTION = re.compile(r"(?i)((?:password|passwd|pwd|secret|token)[\w]*=)[^&\s'\"]*")


def hidden(words: str) -> str:
    """Words with the user and password of every address in them hidden, whatever signs are in them."""
    return _AS_OPTION.sub(r"\1***", _IN_ADDRESS.sub("://***@", words))


class PresynError(Exception):
    """Bad input or a broken environment; the message names the thing and the fix.

    The command line prints the message alone, without a traceback.
    """
