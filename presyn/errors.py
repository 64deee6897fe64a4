"""The one exception that presyn raises for input a user can mend."""


class PresynError(Exception):
    """Bad input or a broken environment; the message names the thing and the fix.

    The command line prints the message alone, without a traceback.
    """
