"""Label lists of one's own, and of other code, for `noise=file`.

- `.csv`: a column of labels, with or without a column of paths or of indices, with or without a
  header. Its names are those of `ALL_LABELS`, `PATHS` and `INDICES`; without one there is the
  label alone, or path and label.
- `.json`: a list of labels (DivideMix), or an object from paths to labels, or one that holds the
  lists by the names below.
- `.npz`: arrays by those names (UNICON's `label`), `.npy`: the labels.

A label is a class's number or name. In a `.csv`, where all is text, it is a name if every label is.
"""

import csv
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pmnar.errors import InputError

SUFFIXES = (".csv", ".json", ".npy", ".npz")
LABELS = ("label", "labels", "noise_label", "noisy_label", "noisy_labels", "given_label")
ALL_LABELS = (*LABELS, "given_name", "given", "class", "class_name", "target")
PATHS = ("path", "paths", "file", "files", "filename", "file_name", "image", "image_path")
UNREADABLE = (
    *(OSError, EOFError, ValueError, RecursionError),
    *(csv.Error, zipfile.BadZipFile, zlib.error),
)
LARGEST = 2**31
INDICES = ("index", "")
"""The second is what pandas calls it. UNICON's `index` are the noisy samples, no such column."""


@dataclass(frozen=True)
class LabelList:
    """What a file says.

    Attributes:
        labels: class numbers, or text: names, or the numbers of a `.csv`.
        paths: the image of each label, where the file has them.
        index: its position in the official training set, where the file has that.
    """

    labels: Sequence[int | str]
    paths: Sequence[str] | None = None
    index: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for what, column in (("paths", self.paths), ("indices", self.index)):
            if column is not None and len(column) != len(self.labels):
                raise InputError(f"holds {len(self.labels)} labels, but {len(column)} {what}")


def is_list(path: Path) -> bool:
    """Whether the file is such a list, not the `labels.npz` of a run."""
    if path.suffix != ".npz":
        return path.suffix in SUFFIXES
    try:
        with np.load(path, allow_pickle=False) as archive:
            return not {"format", "header"} & set(archive.files)
    except UNREADABLE:
        return False  # whoever reads it as a run's will say what is wrong


def read_list(path: Path) -> LabelList:
    """The labels in a list.

    Raises:
        InputError: no such file, or one that is not as this module says.
    """
    if not path.is_file():
        raise InputError(f"noise.path: there is no file {path}")
    read = {".csv": _read_csv, ".json": _read_json, ".npy": _read_npy, ".npz": _read_npz}
    try:
        return read[path.suffix](path)
    except InputError as error:
        raise InputError(f"noise.path: {path} {error}") from None
    except UNREADABLE as error:
        raise InputError(f"noise.path: {path} cannot be read as a list of labels") from error


def _read_csv(path: Path) -> LabelList:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        delimiter = next((sign for sign in ",\t;" if sign in first), ",")
        rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    if not rows:
        raise InputError("holds no labels")
    header = [cell.strip().casefold() for cell in rows[0]]
    if found := [name for name in ALL_LABELS if name in header]:
        names, rows, start = header, rows[1:], 2
    elif len(header) > 2:
        raise InputError(f"has {len(header)} columns, and none is called {' or '.join(LABELS[:3])}")
    else:
        names, found, start = ["path", "label"][-len(header) :], ["label"], 1
    for number, row in enumerate(rows, start):
        if len(row) != len(names) or not row[names.index(found[0])].strip():
            raise InputError(f"has no label in row {number}, or another number of columns")
    columns = {name: [row[k].strip() for row in rows] for k, name in enumerate(names)}
    return _from_columns(columns)


def _from_columns(columns: Mapping[str, Any]) -> LabelList:
    """The list in columns by name.

    Raises:
        InputError: none has a name of labels, or a column is no list.
    """

    def column(names: Sequence[str]) -> Any:
        return next((columns[name] for name in names if name in columns), None)

    labels, paths, index = column(ALL_LABELS), column(PATHS), column(INDICES)
    if labels is None:
        raise InputError(f"holds {', '.join(columns) or 'nothing'}, and no {', '.join(LABELS[:4])}")
    if paths is not None:
        return LabelList(_values(labels), [str(item) for item in _values(paths)])
    return LabelList(_values(labels), index=None if index is None else _numbers(_values(index)))


def _read_json(path: Path) -> LabelList:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict):
        return LabelList(_values(content))
    if any(isinstance(content.get(name), list) for name in ALL_LABELS):
        return _from_columns({k: v for k, v in content.items() if isinstance(v, list)})
    return LabelList(_values(list(content.values())), list(content))


def _read_npy(path: Path) -> LabelList:
    return LabelList(_values(np.load(path, allow_pickle=False)))


def _read_npz(path: Path) -> LabelList:
    with np.load(path, allow_pickle=False) as archive:
        columns = {name: archive[name] for name in archive.files}
    return _from_columns({k: v for k, v in columns.items() if k not in INDICES})


def _values(column: Any) -> list[int | str]:
    """Whole numbers and text, as plain values."""
    if isinstance(column, np.ndarray):
        column = column.tolist() if column.ndim == 1 else None
    if not isinstance(column, list):
        raise InputError("holds no list of labels, one an image")
    return [_value(item, position) for position, item in enumerate(column)]


def _value(item: object, position: int) -> int | str:
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    if isinstance(item, int) and abs(item) > LARGEST:
        raise InputError(f"holds {item} at {position}, which is no class")
    if isinstance(item, bool) or not isinstance(item, int | str):
        raise InputError(f"holds {item!r} at {position}, neither a whole number nor a name")
    return item


def _numbers(column: Sequence[int | str]) -> list[int]:
    for item in column:
        if not str(item).isdecimal():
            raise InputError(f"holds {item!r} among its indices, which is no whole number")
    return [int(item) for item in column]
