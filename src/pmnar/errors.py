"""The errors that are told in one line."""


class InputError(ValueError):
    """A value, file or folder given by the user cannot be used.

    The message is one line: the value, what is allowed, and the configuration key to change.
    Entry points print it without a traceback and exit with code 2.
    """


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or NaN; the message names the epoch and the step."""


class WriteError(OSError):
    """A file could not be written; the message names it and the reason. What was there is whole.

    Entry points print it without a traceback and exit with code 1.
    """


class RankLostError(RuntimeError):
    """One of several ranks was killed; the message says which and by what.

    Entry points print it without a traceback and exit with code 1.
    """


TOLD = (InputError, NonFiniteLossError, RankLostError, WriteError)
"""What people are told of in a line."""
