"""Figures that others published, as data: `published.yaml`, which says what its keys mean.

    table = tables()["table1"]
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True): ...

Figures are decimals that keep the digits printed, so that `cell.half` is what rounding hides.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FILE = Path(__file__).with_suffix(".yaml")


class Cell(NamedTuple):
    """A figure as printed: with its ±, where one is, and whether it is bold."""

    value: Decimal
    deviation: Decimal | None = None
    bold: bool = False

    @property
    def half(self) -> Decimal:
        """Half a unit of the last digit: what was rounded is at most so far from the figure."""
        return Decimal(1).scaleb(int(self.value.as_tuple().exponent)) / 2

    def __str__(self) -> str:
        """As it is printed, in Markdown."""
        text = f"{self.value}" if self.deviation is None else f"{self.value} ± {self.deviation}"
        return f"**{text}**" if self.bold else text


class Column(NamedTuple):
    """What a column's figures are of, by our names."""

    dataset: str
    noise: str
    measure: str
    convention: str


class Row(NamedTuple):
    """What a method came to: its name in print, and in conf/method (None: it is not there)."""

    name: str
    method: str | None
    cells: tuple[Cell, ...]
    draws: str = "unsaid"
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; `misfits` are points by which figures miss an identity, and why, by its name."""

    title: str
    source: str
    where: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    network: str = "unsaid"
    epochs: str = "unsaid"
    note: str = ""
    misfits: tuple[tuple[str, Decimal, str], ...] = ()

    @property
    def places(self) -> list[tuple[str, str]]:
        """Data set and noise of the columns, each pair once."""
        return list(dict.fromkeys((column.dataset, column.noise) for column in self.columns))

    def cell(self, row: Row, **wanted: str) -> Cell:
        """Of the one column with these `dataset`, `noise`, `measure`, `convention`.

        Raises:
            KeyError: there is none, or there are several.
        """
        fits = [wanted.items() <= column._asdict().items() for column in self.columns]
        found = [cell for fit, cell in zip(fits, row.cells, strict=True) if fit]
        if len(found) != 1:
            raise KeyError(f"{self.title}: {wanted} are {len(found)} columns")
        return found[0]


def tables(path: Path = FILE) -> dict[str, Table]:
    """All tables, by name, in the paper's order."""
    found = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return {name: _table(content) for name, content in found.items()}


def _table(content: dict[str, Any]) -> Table:
    common = {key: content.pop(key) for key in Column._fields if key in content}
    columns = tuple(Column(**(common | column)) for column in content.pop("columns"))
    rows = tuple(_row(row) for row in content.pop("rows"))
    misfits = tuple(
        (name, Decimal(found["off"]), found["why"])
        for name, found in content.pop("misfits", {}).items()
    )
    return Table(columns=columns, rows=rows, misfits=misfits, **content)


def _row(content: dict[str, Any]) -> Row:
    cells = tuple(_cell(text) for text in content.pop("cells"))
    return Row(method=content.pop("method", None), cells=cells, **content)


def _cell(text: str) -> Cell:
    value, _, deviation = text.strip("*").partition(" ± ")
    return Cell(Decimal(value), Decimal(deviation) if deviation else None, text.startswith("**"))
