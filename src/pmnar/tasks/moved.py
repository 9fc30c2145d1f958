"""Keys of earlier versions: a command that uses one is told the new key, an older file is read."""

from collections.abc import Sequence
from typing import Any

from pmnar.errors import InputError
from pmnar.tasks.command import SCHEDULER

MOVED = {
    "dataset.recipe.beta": "method.beta",
    "dataset.recipe.warmup_epochs": "method.warmup_epochs",
    "dataset.resident": "data.resident",
    "threads": "compute.threads",
    "compile": "compute.compile",
    "channels_last": "compute.channels_last",
    "fused_forward": "compute.fused_forward",
}
"""What each was, and is now."""
MISSING = object()


def check_typed(arguments: Sequence[str]) -> None:
    """Raise `InputError` for the first argument of a command that is a key of an earlier version.

    Also for one that Hydra would add without a word: `+dataset.recipe.beta=2`.
    """
    for argument in arguments:
        key, equals, value = argument.lstrip("+~").partition("=")
        if key == "paper":
            raise InputError(f"{argument}: this follows method and dataset; set its keys")
        if key == SCHEDULER:
            raise InputError(f"{argument}: this says what a paper has; type scheduler={value}")
        if key in MOVED:
            new = MOVED[key]
            raise InputError(f"{key} is called {new} now: type {new}{equals}{value}")


def under_new_keys(config: Any) -> Any:
    """A run's configuration, resolved, under the keys of now; changed in place.

    A value that a newer key has is the one that counted. What was for one kind of method in the
    recipe of a data set is left out: a method of that kind has its own.
    """
    for old, new in MOVED.items():
        value = _taken(config, old.split("."))
        if value is not MISSING and not old.startswith("dataset.recipe."):
            _given(config, new.split("."), value)
    return config


def _taken(node: Any, path: Sequence[str]) -> Any:
    """Remove and return what is at `path`, if anything."""
    for name in path[:-1]:
        node = node.get(name) if isinstance(node, dict) else None
    return node.pop(path[-1], MISSING) if isinstance(node, dict) else MISSING


def _given(node: Any, path: Sequence[str], value: Any) -> None:
    """Put `value` at `path`, unless there is one."""
    for name in path[:-1]:
        node = node.setdefault(name, {}) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.setdefault(path[-1], value)
