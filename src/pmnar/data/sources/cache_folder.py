"""Where decoded images are kept, how much of them, and how to be rid of them.

The user's cache folder as the platform has it, or that of the environment variable
`PMNAR_CACHE_DIR`: a machine's matter, so not part of a run's configuration. `PMNAR_CACHE_GB` limits
it: the data sets that were used longest ago make room for a new one.
"""

import argparse
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from platformdirs import user_cache_path

from pmnar.errors import InputError

FOLDER_VARIABLE = "PMNAR_CACHE_DIR"
LIMIT_VARIABLE = "PMNAR_CACHE_GB"
DEFAULT_GB = 100.0
LOCK, PARTIAL = ".lock", ".partial"


def cache_root() -> Path:
    """The folder of all that is kept, whether it is there or not.

    Raises:
        OSError: the user has no home folder, and the environment names no other.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    root = Path(chosen).expanduser() if chosen else user_cache_path("pmnar", appauthor=False)
    if not (chosen or root.is_absolute()):
        raise OSError(f"no home folder; {FOLDER_VARIABLE} can name another")
    return root / "images"


def folder_of(root: Path) -> Path:
    """The folder for the images of the data set in `root`.

    Raises:
        OSError: as `cache_root`.
    """
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return cache_root() / name


def fill(folder: Path, is_there: Callable[[], bool], write: Callable[[], None]) -> None:
    """Have something written into a data set's folder, by one process, unless it is there.

    Raises:
        OSError, NotImplementedError: it cannot be; the latter where there are no locks.
    """
    if not is_there():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            if not is_there():
                write()


@contextmanager
def placing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its place, synced to disk, once the block has written it."""
    partial = path.with_name(f"{path.name}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed had begun to write."""
    for leftover in folder.glob(f"*{PARTIAL}"):
        leftover.unlink()


def mapped(path: Path) -> NDArray[Any]:
    """The array in a `.npy`, mapped: its pages are private, and shared until written to."""
    return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))


def limit() -> float:
    """The most bytes to keep.

    Raises:
        InputError: the variable is no number of at least 0.
    """
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_GB))
    with suppress(ValueError):
        if float(text) >= 0:
            return float(text) * 1e9
    raise InputError(f"{LIMIT_VARIABLE} must be a number of gigabytes of at least 0, got {text}")


def make_room(folder: Path, size: int) -> None:
    """Remove what other data sets keep, the longest unused first, until `size` bytes more fit.

    Args:
        folder: the data set that they are for, which keeps what it has.
        size: bytes.

    Raises:
        OSError: they do not fit into an otherwise empty cache.
        InputError: the limit is no number.
    """
    most = limit()
    own = size + _size(folder)
    if own > most:
        raise OSError(f"{own / 1e9:.1f} GB, over {LIMIT_VARIABLE}={most / 1e9:g}")
    others = [other for other in _folders() if other.name != folder.name]
    for other in sorted(others, key=_last_used):
        if own + sum(map(_size, others)) <= most:
            return
        _empty(other)


def mark_used(path: Path) -> None:
    """Note that a file was read just now."""
    with suppress(OSError):  # another user's
        os.utime(path)


def clear() -> int:
    """Remove all that is kept and that no run is writing; returns the bytes that were freed."""
    return sum(map(_empty, _folders()))


def main() -> None:
    """Show where the cache is and what it takes; `clear` empties it."""
    parser = argparse.ArgumentParser(prog="pmnar-cache", description=main.__doc__)
    parser.add_argument("action", nargs="?", choices=["show", "clear"], default="show")
    clearing = parser.parse_args().action == "clear"
    try:
        print(_cleared() if clearing else _shown())
    except (InputError, OSError) as error:
        parser.error(str(error))


def _cleared() -> str:
    return f"{clear() / 1e9:.2f} GB removed from {cache_root()}"


def _shown() -> str:
    return (
        f"{sum(map(_size, _folders())) / 1e9:.2f} of at most {limit() / 1e9:g} GB of decoded "
        f"images in {cache_root()} ({FOLDER_VARIABLE}, {LIMIT_VARIABLE})"
    )


def _folders() -> list[Path]:
    root = cache_root()
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.name != LOCK] if folder.is_dir() else []


def _size(folder: Path) -> int:
    total = 0
    for path in _files(folder):
        with suppress(OSError):  # removed by another process just now
            total += path.stat().st_size
    return total


def _last_used(folder: Path) -> float:
    times = [0.0]
    for path in _files(folder):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _empty(folder: Path) -> int:
    """Remove a data set's files unless a run is writing them; the bytes that were freed.

    Runs that have them mapped keep them until they end.
    """
    before = _size(folder)
    with suppress(OSError, NotImplementedError, Timeout), FileLock(folder / LOCK, timeout=0):
        for path in _files(folder):
            path.unlink(missing_ok=True)
    return before - _size(folder)
