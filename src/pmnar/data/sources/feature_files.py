"""Files of features and labels: `.npz`, `.parquet`, and `.npy` with others beside it.

What they hold is known by the names in `NAMES`. Beside `clip.npy`, `clip.labels.npy` has the
labels, and so on. Nothing is unpickled, and features are never read as a whole.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from pmnar.data.sources.feature_matrices import (
    KEY,
    OBJECTS,
    Array,
    ArrayMatrix,
    ColumnMatrix,
    Matrix,
    MemberMatrix,
    parquet_file,
)
from pmnar.errors import InputError

ENDINGS = (".npz", ".parquet", ".npy")
NAMES = {
    "features": ("features", "feature", "embeddings", "embedding"),
    "labels": ("labels", "label"),
    "true_labels": ("true_labels", "true_label"),
    "paths": ("paths", "path"),
    "split": ("split", "splits"),
    "class_names": ("class_names",),
}
"""What a file may hold, and by which names; the first two it must."""
UNREADABLE = (
    *(OSError, EOFError, ValueError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class FeatureFile:
    """What a file holds.

    Attributes:
        path: where.
        features: `[N, D]`.
        columns: the other arrays, by the keys of `NAMES`.
        files: all that was read, for whoever asks whether one has changed.
    """

    path: Path
    features: Matrix
    columns: dict[str, Array]
    files: tuple[Path, ...]

    def chunks(self) -> Iterator[Array]:
        """All features in the file's order, a few rows at a time.

        Raises:
            InputError: they cannot be read.
        """
        with reading(self.path):
            yield from self.features.chunks()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around the reading of a file: whatever is wrong with it is told in a line."""
    try:
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        if str(error).startswith(OBJECTS) or OBJECTS[1] in str(error):
            raise InputError(
                f"{KEY}: {path} holds Python objects, which are never unpickled: save numbers, and "
                "text as numpy.array(names, dtype=str)"
            ) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{KEY}: {path} cannot be read: {reason}") from error


def open_features(path: Path) -> FeatureFile:
    """What the file holds; of the features, only what they are.

    Raises:
        InputError: there is no such file, its ending is none of `ENDINGS`, it cannot be read, it
            lacks features or labels, or the features are no numbers in two dimensions.
    """
    if path.suffix not in ENDINGS:
        raise InputError(f"{KEY} must end in {', '.join(ENDINGS)}, got {path}")
    if not path.is_file():
        raise InputError(f"{KEY}: there is no file {path}")
    opened = {".npz": _open_npz, ".parquet": _open_parquet, ".npy": _open_npy}[path.suffix]
    with reading(path):
        return opened(path)


def chosen_names(path: Path, there: list[str], how: str = "{}") -> dict[str, str]:
    """Which of the names that are there is which key of `NAMES`.

    Raises:
        InputError: features or labels are not among them.
    """
    found = {
        key: next(name for name in names if name in there)
        for key, names in NAMES.items()
        if {*names} & {*there}
    }
    for key in ("features", "labels"):
        if key not in found:
            has = ", ".join(sorted(there)) or "nothing"
            wanted = " or ".join(how.format(name) for name in NAMES[key][:2])
            raise InputError(f"{KEY}: {path} has no {key}: there must be {wanted}, and is {has}")
    return found


def _open_npy(path: Path) -> FeatureFile:
    all_beside = sorted(path.parent.glob(f"{escape(path.stem)}.*.npy"))
    beside = {place.name[len(path.stem) + 1 : -len(".npy")]: place for place in all_beside}
    names = chosen_names(path, ["features", *beside], f"{path.stem}.{{}}.npy beside it")
    names.pop("features")
    # "c": private pages, shared between processes until written to
    array = np.lib.format.open_memmap(path, mode="c")
    columns = {key: _array(beside[name]) for key, name in names.items()}
    files = (path, *(beside[name] for name in names.values()))
    return FeatureFile(path, ArrayMatrix(path, array), columns, files)


def _array(path: Path) -> Array:
    with reading(path):
        array: Array = np.load(path, allow_pickle=False)
    return array


def _open_npz(path: Path) -> FeatureFile:
    if not zipfile.is_zipfile(path):
        raise zipfile.BadZipFile("it is no archive")
    with np.load(path, allow_pickle=False) as archive:
        names = chosen_names(path, list(archive.files))
        matrix = MemberMatrix(path, f"{names.pop('features')}.npy")
        columns = {key: archive[name] for key, name in names.items()}
    return FeatureFile(path, matrix, columns, (path,))


def _open_parquet(path: Path) -> FeatureFile:
    with parquet_file(path) as file:
        names = chosen_names(path, file.schema_arrow.names)
        feature = names.pop("features")
        names.pop("class_names", None)  # as many as there are rows: text labels name classes
        table = file.read(columns=list(names.values()))
    columns = {key: _column(path, name, table[name]) for key, name in names.items()}
    return FeatureFile(path, ColumnMatrix(path, feature), columns, (path,))


def _column(path: Path, name: str, column: Any) -> Array:
    if column.null_count:
        at = column.is_null().to_pylist().index(True)
        raise InputError(f"{KEY}: {path}: {name} is missing in row {at}")
    return np.array(column.to_pylist())
