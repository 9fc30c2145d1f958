"""Names that what a run writes at its end cannot hold, found before it begins."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.tasks.command import plain


def check_settings(cfg: DictConfig) -> None:
    """Raise `InputError` where a setting, or where the runs are, is a path that is no UTF-8."""
    check_text("path", [os.fspath(Path(cfg.runs_dir).absolute()), *texts(plain(cfg))])


def check_names(data: NoisyDataModule) -> None:
    """Raise `InputError` where a class or an image has a name that is no UTF-8.

    Tables, the summary and the report hold them: they are UTF-8 by their formats.
    """
    check_text("class", data.class_names)
    check_text("image", data.splits["train"].paths or ())


def check_text(kind: str, names: Iterable[str]) -> None:
    """Raise `InputError` for the first of `names` that UTF-8 cannot write."""
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError:
            shown = name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\\udc", "\\x")
            raise InputError(
                f"the {kind} {shown} has a name that is not UTF-8, as the tables and the report of "
                "a run are; rename it (convmv does so for whole folders)"
            ) from None


def texts(node: Any) -> Iterator[str]:
    """All text in nested dictionaries and lists."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from (text for value in node.values() for text in texts(value))
    elif isinstance(node, list):
        yield from (text for value in node for text in texts(value))
