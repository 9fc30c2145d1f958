"""`metrics.csv`: a row an epoch."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pmnar.files import write_text

Row = dict[str, float]
LAST = 10
"""The field reports the mean of this many last epochs."""


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows; a value that a row lacks is an empty cell. Floats keep every digit."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """The rows of a table written by `write_rows`; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_numbers(row) for row in csv.DictReader(file)]


def _numbers(row: dict[str, str]) -> Row:
    numbers = {key: float(value) for key, value in row.items() if value}
    numbers["epoch"] = int(numbers["epoch"])
    return numbers


def summarise(rows: Sequence[Row], column: str) -> dict[str, float]:
    """`best`, `last` and `mean_last_10` of a column, over the epochs that have it."""
    values = [row[column] for row in rows if column in row]
    if not values:
        return {}
    return {"best": max(values), "last": values[-1], "mean_last_10": fmean(values[-LAST:])}
