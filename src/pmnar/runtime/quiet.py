"""Silence where a library's advice does not apply."""

import logging
import warnings

MESSAGES = (
    ".*does not have many workers.*",  # the images are in memory
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run's
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ".*srun.*command is available.*",
    ".*sync_dist=True.*",  # what is logged is already the same on every rank
)


def quieten() -> None:
    """In this process: a rank that was spawned has to be told again."""
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
