"""Warnings: none where a library's advice does not apply, the others on a line each."""

import logging
import warnings
from typing import Any

from pmnar.runtime.terminal import steady_output

MESSAGES = (
    ".*does not have many workers.*",  # the images are in memory
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run's
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ".*srun.*command is available.*",
    ".*Total length of `list` across ranks is zero.*",  # there is nothing to test on
    ".*sync_dist=True.*",  # what is logged is already the same on every rank
)


def _on_a_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: Any = None
) -> str:
    return f"warning: {message}\n"


def quieten() -> None:
    """In this process: a rank that was spawned has to be told again."""
    steady_output()
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message)
    warnings.formatwarning = _on_a_line
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
