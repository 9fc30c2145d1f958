"""Matrices of features in files, of which a few rows are read at a time."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError

KEY = "dataset.source.path"
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


class ColumnMatrix:
    """A column of lists, all of one length."""

    mapped: Array | None = None

    def __init__(self, path: Path, name: str) -> None:
        import pyarrow.types as pt

        self.path, self.name = path, name
        with parquet_file(path) as file:
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
        with parquet_file(self.path) as file:
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


def parquet_file(path: Path) -> Any:
    """The file, opened."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path)


def _rows_of_a_chunk(width: int) -> int:
    return max(CHUNK // (8 * width), 1)
