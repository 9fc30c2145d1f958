"""Reading the tables that a run leaves."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError
from pmnar.files import whole_lines

Metrics = dict[str, NDArray[np.float64]]
Summary = dict[str, object]


class Classes(NamedTuple):
    """The table `classes.csv`.

    Attributes:
        epochs: float64 `[epochs]`.
        columns: float64 `[epochs, K]` each, NaN where a cell is empty; those that hold a value.
    """

    epochs: NDArray[np.float64]
    columns: dict[str, NDArray[np.float64]]


def read_metrics(path: Path) -> Metrics:
    """Columns of `metrics.csv`, float64 `[epochs]`, NaN where a cell is empty.

    Columns without a single value are left out, as is everything when the file does not exist.

    Raises:
        InputError: a cell is no number.
    """
    names, rows = _read(path)
    cells = list(rows)
    columns = {
        name: np.array([_number(row[name], path, name) for row in cells], np.float64)
        for name in names
    }
    return {name: column for name, column in columns.items() if _has_value(column)}


def read_class_weights(path: Path) -> dict[int, float]:
    """Mean weight of each class that has one, by label, at the end of the table `classes.csv`.

    Raises:
        InputError: a cell is no number.
    """
    _, rows = _read(path)
    kept = (row for row in rows if row.get("weight"))
    return {int(row["class"]): _number(row["weight"], path, "weight") for row in kept}


def read_classes(path: Path) -> Classes:
    """All of the table `classes.csv`; without an epoch that was not written to its end.

    Raises:
        InputError: a cell is no number.
    """
    names, found = _read(path)
    rows = list(found)
    count = 1 + max((int(row["class"]) for row in rows), default=-1)
    del rows[len(rows) - len(rows) % max(count, 1) :]
    columns = {
        name: np.array([_number(row[name], path, name) for row in rows]).reshape(-1, max(count, 1))
        for name in names
        if name not in ("class", "name")
    }
    epochs = columns.pop("epoch", np.empty((0, 1)))[:, 0]
    return Classes(epochs, {n: column for n, column in columns.items() if _has_value(column)})


def read_summary(path: Path) -> Summary:
    """The content of `summary.json`; empty when the file does not exist.

    Raises:
        InputError: not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, got a {type(content).__name__}")
    return content


def lookup(summary: Summary, *keys: str) -> object:
    """The value at `summary[keys[0]][keys[1]]…`; None where a key is absent."""
    found: object = summary
    for key in keys:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def events_of(summary: Summary) -> dict[str, int]:
    """What happened after which epoch, by name; of an earlier version's summary, too."""
    events = lookup(summary, "events")
    if not isinstance(events, dict):  # which knew of one event
        events = {"warm-up ends": lookup(summary, "warmup_epochs")}
    return {str(name): int(n) for name, n in events.items() if isinstance(n, int | float)}


def epochs_of(metrics: Metrics) -> NDArray[np.float64]:
    """The epoch of each row, counted from 1 where the table has no such column."""
    rows = len(next(iter(metrics.values()))) if metrics else 0
    return metrics.get("epoch", np.arange(1, rows + 1, dtype=np.float64))


def _read(path: Path) -> tuple[list[str], Iterable[dict[str, str]]]:
    """The names of the columns, and the rows; without a last one that a kill has cut off."""
    reader = csv.DictReader(whole_lines(path), restval="")
    return list(reader.fieldnames or []), reader


def _has_value(column: NDArray[np.float64]) -> bool:
    return not np.isnan(column).all()


def _number(cell: str, path: Path, column: str) -> float:
    try:
        return float(cell) if cell.strip() else float("nan")
    except ValueError as error:
        raise InputError(f"{path}, column {column}: {cell!r} is not a number") from error
