"""Hydra's instantiate, with errors that fit on a line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.utils import instantiate

from pmnar.errors import InputError
from pmnar.tasks.mistakes import first_line

MISSING = "Missing mandatory value: "


@contextmanager
def in_a_line(key: str) -> Iterator[None]:
    """Let what was set below `key` be refused in one line, also where it is of another type.

    Raises:
        InputError: the block's own as it is, its TypeError or ValueError with the key before it.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"{key}: {first_line(error)}") from error


def instantiated(key: str, settings: dict[str, Any], *objects: Any, **more: Any) -> Any:
    """Hydra's instantiate of `settings`, the value of `key`.

    Args:
        key: of the configuration.
        settings: its value.
        *objects: first arguments of the callee that Hydra should not look into.
        **more: further settings.

    Raises:
        InputError: the callee's own as it is, any other error as a line with its reason.
    """
    try:
        if not objects:
            return instantiate(settings, **more, _convert_="all")
        return instantiate(settings, **more, _convert_="all", _partial_=True)(*objects)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        reason = first_line(error.__cause__ or error)
        if reason.startswith(MISSING):
            raise InputError(f"{key}.{reason.removeprefix(MISSING)} must be set") from None
        raise InputError(f"{key}: {reason}") from error
