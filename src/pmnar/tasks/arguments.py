"""Arguments that are no settings: said in a line, where Hydra would print its usage."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from pmnar.errors import InputError
from pmnar.runtime.typed import assignment
from pmnar.tasks.mistakes import known_keys, nearest

FLAGS = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--resolve",
    "--run",
    "-r",
    "--multirun",
    "-m",
)
VALUED = (
    *("--cfg", "-c", "--package", "-p", "--shell-completion", "-sc", "--config-path", "-cp"),
    *("--config-name", "-cn", "--config-dir", "-cd", "--experimental-rerun", "--info", "-i"),
)
"""Hydra's options; the second have a value, the next argument."""
ROLES = {"config": "resume", "evaluate": "run", "predict": "run"}
"""The key that names a run, by the configuration."""


def check_arguments(arguments: Sequence[str], config_name: str) -> None:
    """Raise `InputError` for an argument that is neither a setting nor one of Hydra's options.

    And where an option stands between settings: what is behind it would not be read.
    """
    settings = options = False
    for argument, following in _without_values(arguments):
        if argument.startswith("-"):
            if not _is_option(argument):
                raise InputError(_no_option(argument, following, config_name))
            options = settings
        elif "=" not in argument and not argument.startswith("~"):
            raise InputError(_no_setting(argument, following, config_name))
        elif options:
            raise InputError(f"{argument} stands behind an option: -m and the like come first")
        else:
            settings = True


def _without_values(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Each argument with the one behind it, but for the values of options."""
    left = iter(zip_longest(arguments, arguments[1:]))
    for argument, following in left:
        yield argument, following
        if argument in VALUED and following is not None and "=" not in following:
            next(left)


def _is_option(argument: str) -> bool:
    head = argument.partition("=")[0]
    # Hydra takes the beginning of a long one for it.
    return head in (*FLAGS, *VALUED) or (
        head.startswith("--") and any(each.startswith(head) for each in (*FLAGS, *VALUED))
    )


def _no_option(argument: str, following: str | None, config_name: str) -> str:
    head, equals, value = argument.partition("=")
    name, keys = head.lstrip("-").replace("-", "_"), known_keys(config_name)
    if name not in keys:
        return (
            f"{argument} is no option; settings are typed key=value, without dashes: "
            f"{nearest(name, keys)}"
        )
    if not equals and following is not None and _is_bare(following):
        value = following
    typed = assignment(name, value) if value else f"{name}=…"
    return f"{argument} is no option; settings are typed without dashes: {typed}"


def _no_setting(argument: str, following: str | None, config_name: str) -> str:
    keys = known_keys(config_name)
    if argument in keys:
        is_value = following is not None and _is_bare(following)
        typed = assignment(argument, following) if following and is_value else f"{argument}=…"
        return f"{argument} is no setting; type it with its value: {typed}"
    if Path(argument).exists():
        typed = assignment(ROLES[config_name], argument)
        return f"{argument} is no setting; a run is named by {typed}"
    return f"{argument} is no setting; settings are typed key=value: {nearest(argument, keys)}"


def _is_bare(argument: str) -> bool:
    return "=" not in argument and not argument.startswith("-")
