"""Warnings: none where a library's advice does not apply, the others on a line each, said once.

Whoever warns says so by `warnings.warn`, wherever it is: that the first rank alone is heard is a
rule of this file.
"""

import logging
import warnings
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from pmnar.runtime.run_folder import is_first_process
from pmnar.runtime.terminal import steady_output

MESSAGES = (
    ".*does not have many workers.*",  # the images are in memory
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run's
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ".*in eval mode at the start of training.*",  # layers that are frozen on purpose
    ".*srun.*command is available.*",
    ".*Total length of `list` across ranks is zero.*",  # there is nothing to test on
    ".*sync_dist=True.*",  # what is logged is already the same on every rank
)


def _on_a_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: Any = None
) -> str:
    # The environment tells of ranks that are commands of their own, Lightning of spawned ones.
    is_first = is_first_process() and getattr(rank_zero_only, "rank", None) in (None, 0)
    return f"warning: {message}\n" if is_first else ""


def quieten() -> None:
    """In this process: a rank that was spawned has to be told again."""
    steady_output()
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message)
    warnings.formatwarning = _on_a_line
    for package in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
