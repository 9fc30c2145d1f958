"""The errors that are told in one line."""


class InputError(ValueError):
    """A value, file or folder given by the user cannot be used.

    The message is one line: the value, what is allowed, and the configuration key to change.
    Entry points print it without a traceback and exit with code 2.
    """


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or NaN; the message names the epoch and the step."""
