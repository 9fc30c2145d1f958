"""Writing files so that a reader, or a crash, never meets half of one."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pmnar.errors import WriteError

LOSSLESS = "surrogateescape"
"""How bytes that are no UTF-8 (in a folder's name, half a letter) are kept as they are."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place, synced to disk, if the block succeeds.

    Otherwise the temporary file is removed, and what was at `path` stays as it was.

    Raises:
        WriteError: the disk is full, the folder cannot be written to, and the like.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # a folder that is gone or read-only has had its say
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(path: Path) -> None:
    try:
        sync(path)
    except OSError as error:
        # Some network file systems know no such thing; the file itself is in its place.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Add `text` to the end of `path`, synced to disk; a crash may leave the beginning of it.

    Raises:
        WriteError: the disk is full, the folder cannot be written to, and the like.
    """
    try:
        with path.open("ab") as file:
            file.write(text.encode("utf-8", LOSSLESS))  # at once: who reads meanwhile sees all
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def whole_lines(path: Path) -> Iterator[str]:
    """The lines of a text that is appended to, without a last one that was cut off.

    None where there is no file.
    """
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8", errors=LOSSLESS) as file:
        yield from (line for line in file if line.endswith("\n"))


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below `folder` that killed processes could not remove."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)
