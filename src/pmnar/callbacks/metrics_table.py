"""Tables of numbers that grow by some rows an epoch: `metrics.csv` and its like."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pmnar.files import LOSSLESS, append_text, replacing, whole_lines, write_text

Row = dict[str, float]
LAST = 10
"""The field reports the mean of this many last epochs."""


class AppendedTable:
    """A CSV file with a column `epoch`, to which rows are appended.

    It is written anew only where a row brings a column that it lacks, and once by a resumed run,
    which leaves out the rows of epochs that it goes back before.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._columns = path, list[str]()
        self._epochs = 0

    def go_back(self, epochs: int) -> None:
        """Keep only the rows of so many first epochs, when the next row comes."""
        self._epochs, self._columns = epochs, []

    def cut(self) -> None:
        """Leave out at once what `go_back` leaves out, where no further row will come."""
        if any(int(row["epoch"]) > self._epochs for row in read_cells(self.path)):
            self._write_anew([])

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add one epoch's rows; a value that a row lacks is an empty cell.

        Raises:
            WriteError: the disk is full, and the like.
        """
        if set(self._columns).issuperset(key for row in rows for key in row):
            append_text(self.path, _lines(rows, self._columns))
        else:
            self._write_anew(rows)
        self._epochs = rows[-1]["epoch"]

    def _write_anew(self, rows: Sequence[Mapping[str, Any]]) -> None:
        used = {key for row in self.kept() for key in row}
        known = [column for column in next(_cells(self.path), []) if column in used]
        self._columns = list(dict.fromkeys([*known, *(key for row in rows for key in row)]))
        header = {column: column for column in self._columns}
        with (
            replacing(self.path) as beside,
            beside.open("w", encoding="utf-8", errors=LOSSLESS) as file,
        ):
            file.write(_lines([header], self._columns))
            for text in self.kept():
                file.write(_lines([text], self._columns))
            file.write(_lines(rows, self._columns))

    def kept(self) -> Iterator[dict[str, str]]:
        """The rows as they were written, of the epochs that the run has behind it."""
        return (row for row in read_cells(self.path) if int(row["epoch"]) <= self._epochs)


def _lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cells(path: Path) -> Iterator[list[str]]:
    return csv.reader(whole_lines(path))


def read_cells(path: Path) -> Iterator[dict[str, str]]:
    """The rows of such a table as text, without empty cells; none where there is no file."""
    rows = _cells(path)
    columns = next(rows, [])
    return ({k: v for k, v in zip(columns, row, strict=False) if v} for row in rows)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows; a value that a row lacks is an empty cell. Floats keep every digit."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_text(path, _lines([{c: c for c in columns}, *rows], columns))


def read_rows(path: Path) -> list[Row]:
    """The rows of a table of numbers; none where there is no file.

    A last line that a kill has cut off does not count.
    """
    return [_numbers(row) for row in read_cells(path)]


def _numbers(row: dict[str, str]) -> Row:
    numbers = {key: float(value) for key, value in row.items()}
    numbers["epoch"] = int(numbers["epoch"])
    return numbers


def summarise(rows: Sequence[Row], column: str) -> dict[str, float]:
    """`best`, `last` and `mean_last_10` of a column, over the epochs that have it."""
    values = [row[column] for row in rows if column in row]
    if not values:
        return {}
    return {"best": max(values), "last": values[-1], "mean_last_10": fmean(values[-LAST:])}
