"""Where a run leaves what it makes."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from pmnar.errors import InputError

CONFIG = Path("config.yaml")
CHECKPOINT = Path("checkpoints") / "last.ckpt"
TIME = "%Y%m%d-%H%M%S"
"""How a run folder's name begins."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""Set by whatever starts the ranks: in rank 0, and in it alone, those that are set are 0."""
HANDOVER = 10.0
"""Seconds to wait for the ranks of a killed run to end, before its folder is said to be in use."""


def make_run_folder(root: Path, dataset: str, noise: str, method: str) -> Path:
    """Make `root/<dataset>/<noise>/<method>/<time>-<unique>`, never one that exists.

    The time is UTC, in which no hour comes twice. Names sort in the order in which runs were begun,
    also where the clock was set back in between: then they go on from the latest.

    Raises:
        InputError: the folder cannot be made.
    """
    parts = [re.sub(r"[^\w.+-]+|^\.+", "_", part) for part in (dataset, noise, method)]
    parent = root.joinpath(*parts).absolute()
    folder = parent / f"{_time_for(parent)}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise InputError(
            f"runs_dir={root}: no folder can be made there: {error.strerror}"
        ) from error
    return folder


def _time_for(parent: Path) -> str:
    now = datetime.now(UTC).replace(tzinfo=None)
    names = [path.name for path in parent.iterdir()] if parent.is_dir() else []
    begun = [_time_in(name) for name in names]
    latest = max((time for time in begun if time is not None), default=now)
    return (latest + timedelta(seconds=1) if latest > now else now).strftime(TIME)


def _time_in(name: str) -> datetime | None:
    """The time that a run folder's name begins with; None for another folder."""
    with suppress(ValueError):
        return datetime.strptime(name.rpartition("-")[0], TIME)
    return None


def is_first_process() -> bool:
    """Whether this process will be rank 0, which alone makes folders and tells people things."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in the same run folder; released by any end of this one.

    Raises:
        InputError: another process trains there.
    """
    lock = FileLock(folder / ".lock")  # stays: who waits for a removed one would hold nothing
    try:
        lock.acquire(timeout=HANDOVER)
    except Timeout:
        raise InputError(f"another process is training in {folder}") from None
    try:
        yield
    finally:
        lock.release()
