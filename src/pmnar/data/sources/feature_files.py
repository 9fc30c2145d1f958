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
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError

KEY = "dataset.source.path"
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
OBJECTS = ("Object arrays", "Python objects")
"""How NumPy refuses what would have to be unpickled."""
CHUNK = 2**25
"""Bytes of features that are read at a time."""

Array = NDArray[Any]


class Matrix(Protocol):
    """Features `[N, D]` in a file.

    Attributes:
        shape: N and D.
        mapped: float32 `[N, D]` as the file itself has it; None where it has to be converted.
    """

    shape: tuple[int, int]
    mapped: Array | None

    def chunks(self) -> Iterator[Array]:
        """All rows in the file's order, a few at a time, of any type of number."""


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


def check_matrix(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> tuple[int, int]:
    """N and D; `InputError` unless features are numbers `[N, D]`, and there are some."""
    if kind.hasobject:
        raise ValueError(OBJECTS[1])
    if kind.kind not in "fiu":
        raise InputError(f"{KEY}: {path}: features must be numbers, got {kind}")
    if len(shape) != 2 or 0 in shape:
        raise InputError(
            f"{KEY}: {path}: features must be [samples, features], in two dimensions and not "
            f"empty, got {list(shape)}"
        )
    return shape[0], shape[1]


# -- .npy -----------------------------------------------------------------------------------------


class ArrayMatrix:
    """An array, mapped or in memory."""

    def __init__(self, path: Path, array: Array) -> None:
        self.shape = check_matrix(path, array.shape, array.dtype)
        plain = array.dtype == np.dtype("<f4") and array.flags.c_contiguous and array.flags.aligned
        self.array, self.mapped = array, np.asarray(array) if plain else None

    def chunks(self) -> Iterator[Array]:
        """Rows, a few at a time."""
        step = _rows_of_a_chunk(self.shape[1])
        for start in range(0, self.shape[0], step):
            yield self.array[start : start + step]


def _open_npy(path: Path) -> FeatureFile:
    all_beside = sorted(path.parent.glob(f"{escape(path.stem)}.*.npy"))
    beside = {place.name[len(path.stem) + 1 : -len(".npy")]: place for place in all_beside}
    names = chosen_names(path, ["features", *beside], f"{path.stem}.{{}}.npy beside it")
    names.pop("features")
    # "c": private pages, shared between processes until written to
    array = np.lib.format.open_memmap(path, mode="c")
    columns = {key: np.load(beside[name], allow_pickle=False) for key, name in names.items()}
    files = (path, *(beside[name] for name in names.values()))
    return FeatureFile(path, ArrayMatrix(path, array), columns, files)


# -- .npz -----------------------------------------------------------------------------------------


class MemberMatrix:
    """A member of an archive, which is unpacked as it is read."""

    mapped: Array | None = None

    def __init__(self, path: Path, member: str) -> None:
        self.path, self.member = path, member
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            shape, self.by_column, self.kind = _header(file)
        self.shape = check_matrix(path, shape, self.kind)

    def chunks(self) -> Iterator[Array]:
        """Rows, a few at a time; all at once where they are saved column by column."""
        rows, width = self.shape
        step = rows if self.by_column else _rows_of_a_chunk(width)
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
            _header(file)
            for start in range(0, rows, step):
                count = min(step, rows - start)
                content = file.read(count * width * self.kind.itemsize)
                order: Any = "F" if self.by_column else "C"
                yield np.frombuffer(content, self.kind).reshape((count, width), order=order)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether column by column, and type of the array that begins here."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version, np.lib.format.read_array_header_2_0)
    shape, by_column, kind = read(file)
    return tuple(shape), bool(by_column), kind


def _open_npz(path: Path) -> FeatureFile:
    if not zipfile.is_zipfile(path):
        raise zipfile.BadZipFile("it is no archive")
    with np.load(path, allow_pickle=False) as archive:
        names = chosen_names(path, list(archive.files))
        matrix = MemberMatrix(path, f"{names.pop('features')}.npy")
        columns = {key: archive[name] for key, name in names.items()}
    return FeatureFile(path, matrix, columns, (path,))


# -- .parquet -------------------------------------------------------------------------------------


class ColumnMatrix:
    """A column of lists, all of one length."""

    mapped: Array | None = None

    def __init__(self, path: Path, name: str) -> None:
        import pyarrow.types as pt

        self.path, self.name = path, name
        with _parquet(path) as file:
            kind, rows = file.schema_arrow.field(name).type, file.metadata.num_rows
            lists = (pt.is_list, pt.is_large_list, pt.is_fixed_size_list)
            if not any(is_one(kind) for is_one in lists):
                raise InputError(
                    f"{KEY}: {path}: {name} must be a column of lists of numbers, got {kind}"
                )
            first = next(file.iter_batches(1, columns=[name]), None)
            if not (pt.is_floating(kind.value_type) or pt.is_integer(kind.value_type)):
                raise InputError(f"{KEY}: {path}: features must be numbers, got {kind.value_type}")
            width = len(first[name][0]) if first is not None and first[name][0].is_valid else 0
            value = np.dtype(kind.value_type.to_pandas_dtype())
        self.shape = check_matrix(path, (rows, width), value)

    def chunks(self) -> Iterator[Array]:
        """Rows, a few at a time.

        Raises:
            InputError: a row is missing, or of another length.
        """
        import pyarrow.compute as pc

        start, width = 0, self.shape[1]
        with _parquet(self.path) as file:
            for batch in file.iter_batches(_rows_of_a_chunk(width), columns=[self.name]):
                column = batch.column(0)
                lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
                if (lengths != width).any():
                    at = int((lengths != width).argmax())
                    raise InputError(
                        f"{KEY}: {self.path}: row {start + at} has {lengths[at]} features, and row "
                        f"0 has {width}"
                    )
                yield column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
                start += len(column)


def _open_parquet(path: Path) -> FeatureFile:
    with _parquet(path) as file:
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


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path)


def _rows_of_a_chunk(width: int) -> int:
    return max(CHUNK // (8 * width), 1)
