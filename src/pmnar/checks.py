"""Numbers that settings are: of the right kind, and within their range."""

from collections.abc import Callable

from pmnar.errors import InputError

REALS: dict[str, Callable[[float], bool]] = {
    "over 0": lambda x: x > 0,
    "over 1": lambda x: x > 1,
    "at least 0": lambda x: x >= 0,
    "in [0, 1]": lambda x: 0 <= x <= 1,
    "in [0, 1)": lambda x: 0 <= x < 1,
    "in (0, 1]": lambda x: 0 < x <= 1,
    "in (0, 1)": lambda x: 0 < x < 1,
    "in (0, 100]": lambda x: 0 < x <= 100,
}
"""Ranges of real numbers, none of which NaN is in."""


def check_counts(
    least: int, null: bool = False, group: str = "method", /, **counts: object
) -> None:
    """Raise `InputError` unless each setting is a whole number of at least `least`.

    A fraction would count for one more or one less in silence, or break later.

    Args:
        least: the smallest that is allowed.
        null: whether None is allowed too.
        group: of the settings.
        **counts: by name.
    """
    allowed = f"at least {least}" + ", or null" * null
    for key, count in counts.items():
        if null and count is None:
            continue
        if isinstance(count, bool) or not isinstance(count, int):
            raise InputError(f"{group}.{key} must be a whole number, {allowed}, got {count}")
        if count < least:
            raise InputError(f"{group}.{key} must be {allowed}, got {count}")


def check_reals(allowed: str, null: bool = False, /, **values: object) -> None:
    """Raise `InputError` unless each setting of a method is a number in a range of `REALS`.

    Args:
        allowed: the range's name.
        null: whether None is allowed too.
        **values: by name.
    """
    for key, value in values.items():
        if null and value is None:
            continue
        is_bool, within = isinstance(value, bool), REALS[allowed]
        if is_bool or not isinstance(value, int | float) or not within(value):
            or_null = ", or null" * null
            raise InputError(f"method.{key} must be {allowed}{or_null}, got {value}")
