"""`classes.csv`: a row an epoch and class, apart from `metrics.csv`, which so stays narrow."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from pmnar.callbacks.metrics_table import (
    LAST,
    AppendedTable,
    Row,
    read_cells,
    read_rows,
    write_rows,
)

CLASSES = Path("classes.csv")
OLDER = re.compile(r"(recall|weight)_class_(\d+)")
"""Columns of a `metrics.csv` of before this table."""
Summaries = dict[str, dict[str, float]]


def class_rows(
    epoch: int, by_class: Mapping[str, Tensor], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """An epoch's rows: `epoch`, `class`, `name`, and what is known of the class.

    Args:
        epoch: 1-based.
        by_class: numbers of each class, `[K]`, by name; NaN for a class that has none.
        class_names: K names.
    """
    columns = {name: values.tolist() for name, values in by_class.items()}
    return [
        {"epoch": epoch, "class": k, "name": class_name}
        | {name: values[k] for name, values in columns.items() if not isnan(values[k])}
        for k, class_name in enumerate(class_names)
    ]


class ClassesTable(AppendedTable):
    """The table of a run.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / CLASSES)

    def summaries(self, column: str, class_names: Sequence[str]) -> Summaries:
        """Best, last and mean of last 10 of a column, by class name, of the classes that have it.

        It is read from the file: in memory it would be a number a class and epoch.
        """
        best: dict[int, float] = {}
        latest: dict[int, deque[float]] = {}
        for row in self.kept():
            if column in row:
                k, value = int(row["class"]), float(row[column])
                best[k] = max(best.get(k, value), value)
                latest.setdefault(k, deque(maxlen=LAST)).append(value)
        return {
            class_names[k]: {"best": best[k], "last": last[-1], "mean_last_10": fmean(last)}
            for k, last in sorted(latest.items())
        }


def move_older_columns(folder: Path, class_names: Sequence[str]) -> None:
    """Move the two columns a class of an older run's `metrics.csv` into `classes.csv`."""
    metrics = folder / "metrics.csv"
    first = next(read_cells(metrics), {})
    if not any(OLDER.fullmatch(column) for column in first):
        return
    rows = read_rows(metrics)
    if not (folder / CLASSES).is_file():
        found = [moved for row in rows for moved in _moved(row, class_names)]
        write_rows(folder / CLASSES, found)
    left = [{k: v for k, v in row.items() if not OLDER.fullmatch(k)} for row in rows]
    write_rows(metrics, left)


def _moved(row: Row, class_names: Sequence[str]) -> list[dict[str, Any]]:
    moved: list[dict[str, Any]] = [
        {"epoch": row["epoch"], "class": k, "name": name} for k, name in enumerate(class_names)
    ]
    for column, value in row.items():
        if found := OLDER.fullmatch(column):
            moved[int(found[2])][found[1]] = value
    return moved
