"""Where a run leaves what it makes."""

import os
import re
import secrets
from datetime import datetime
from pathlib import Path

CHECKPOINT = Path("checkpoints") / "last.ckpt"
FOLDER_VARIABLE = "PMNAR_RUN_FOLDER"
"""Set by the process that made the folder, for the processes that it starts."""


def make_run_folder(root: Path, dataset: str, noise: str, method: str) -> Path:
    """Make `root/<dataset>/<noise>/<method>/<time>-<unique>`, never one that exists."""
    parts = [re.sub(r"[^\w.+-]+|^\.+", "_", part) for part in (dataset, noise, method)]
    time = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = root.joinpath(*parts, f"{time}-{secrets.token_hex(3)}").absolute()
    folder.mkdir(parents=True)
    return folder


def inherited_run_folder() -> Path | None:
    """The folder made by the process that started this one as a further rank, if any."""
    is_child = int(os.environ.get("LOCAL_RANK", "0")) > 0
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if is_child and named else None
