"""The rows of a matrix of features as float32, mapped: from the file itself, or from the cache.

A `.npy` of float32 is mapped where it is, as long as each split is one stretch of it. Any other is
written into the platform's cache folder once, converted, one split after the other, as decoded
folders of images are (`cache.py`): `features-<key>.npy`, whose key covers the file's size and times
of change, and the order of the rows.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmnar.data.residence import BLOCK
from pmnar.data.sources.cache_folder import (
    FOLDER_VARIABLE,
    fill,
    folder_of,
    make_room,
    mapped,
    mark_used,
    placing,
    remove_partial,
)
from pmnar.data.sources.feature_files import FeatureFile
from pmnar.data.sources.feature_matrices import KEY
from pmnar.errors import InputError

FORMAT_VERSION = 1
Rows = NDArray[np.float32]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class SplitRows:
    """The features of some splits of a file.

    Args:
        file: the file.
        places: of each split the rows in the file, ascending, int64; together all of them.
    """

    file: FeatureFile
    places: Sequence[Places]

    def load(self) -> list[Rows]:
        """The features of each split, float32 `[n, D]`.

        Raises:
            InputError: one is not finite, or a row has another length.
        """
        own = self.file.features.mapped
        if own is not None and all(map(_is_stretch, self.places)):
            for start in range(0, len(own), BLOCK):
                self._check(own[start : start + BLOCK], start)
            return [own[rows[0] : rows[0] + len(rows)] for rows in self.places]
        whole = self._cached()
        return np.split(whole, np.cumsum([len(rows) for rows in self.places])[:-1])

    def _cached(self) -> Rows:
        """All rows from the cache, filled where needed; in memory where it cannot be."""
        name = f"features-{self._key()}.npy"
        try:
            folder = folder_of(self.file.path)
            fill(
                folder,
                lambda: self._is_whole(folder / name),
                lambda: self._write(folder, name),
            )
            kept: Rows = mapped(folder / name)
        except (OSError, NotImplementedError) as error:  # the latter: no locks on this file system
            warnings.warn(
                f"the features of {self.file.path} cannot be kept ({error}), and are in memory; "
                f"{FOLDER_VARIABLE} can name another folder",
                stacklevel=4,
            )
            return self._in_memory()
        mark_used(folder / name)
        return kept

    def _is_whole(self, path: Path) -> bool:
        try:
            found = mapped(path)
        except (OSError, EOFError, ValueError):
            return False
        return found.dtype == np.float32 and found.shape == self.file.features.shape

    def _write(self, folder: Path, name: str) -> None:
        """Write the rows beside their place, and put them there when all is written."""
        remove_partial(folder)
        for former in folder.glob("features-*.npy"):
            former.unlink()
        rows, width = self.file.features.shape
        make_room(folder, 4 * rows * width)
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        with placing(folder / name) as file:
            np.lib.format.write_array_header_1_0(file, header)
            begins = file.tell()
            for at, part in self._stretches():
                # Not through a map: where the disk is full, that would kill the process.
                file.seek(begins + 4 * width * at)
                file.write(np.ascontiguousarray(part, "<f4").data)

    def _in_memory(self) -> Rows:
        whole = np.empty(self.file.features.shape, np.float32)
        for at, part in self._stretches():
            whole[at : at + len(part)] = part
        return whole

    def _stretches(self) -> Iterator[tuple[int, Rows]]:
        """All rows, a few at a time, and from where on they are among those of all splits."""
        begins = np.cumsum([0, *map(len, self.places)])
        start = 0
        for chunk in self.file.chunks():
            with np.errstate(over="ignore"):  # what is too large is told, as all that is not finite
                converted = chunk.astype(np.float32)
            self._check(converted, start)
            for begin, rows in zip(begins.tolist(), self.places, strict=False):
                # Both ascend, so that what a split has of a chunk is one stretch of it.
                first, last = np.searchsorted(rows, [start, start + len(chunk)])
                if first < last:
                    yield begin + int(first), converted[rows[first:last] - start]
            start += len(chunk)

    def _check(self, rows: Rows, start: int) -> None:
        if np.isfinite(rows.sum(dtype=np.float64)):
            return
        at, feature = np.argwhere(~np.isfinite(rows))[0].tolist()
        raise InputError(
            f"{KEY}: {self.file.path}: features must be finite, got {rows[at, feature]} in row "
            f"{start + at}, feature {feature}"
        )

    def _key(self) -> str:
        digest = hashlib.sha256(f"{FORMAT_VERSION} {self.file.features.shape}".encode())
        for path in self.file.files:
            status = path.stat()
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"  # renaming keeps mtime
            digest.update(f"{path.name} {status.st_size} {times}\n".encode())
        for rows in self.places:
            digest.update(np.ascontiguousarray(rows, "<i8").data)
            digest.update(b"\n")
        return digest.hexdigest()[:16]


def _is_stretch(rows: Places) -> bool:
    """Whether ascending places have none between them."""
    return int(rows[-1] - rows[0]) == len(rows) - 1
