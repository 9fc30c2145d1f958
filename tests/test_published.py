"""The published figures: as printed, by names that are here."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from pmnar.published import FILE, Cell, Row, Table, tables

ROOT = Path(__file__).parents[1]
PUBLISHED = tables()
PAPER = [name for name in PUBLISHED if re.fullmatch(r"table\d", name)]
BY_ROWS = ("table1", "table2", "table5")
"""Tables that the paper prints as the file has them; of the others a line is a measure."""
KEYS = {
    "measure": {"accuracy", "precision", "recall", "f1", "noise_rate", "hours"},
    "convention": {"best", "last", "mean_last_10", "unsaid"},
    "draws": {"others", "all", "unsaid"},
}


def all_rows() -> Iterator[tuple[Table, Row]]:
    for table in PUBLISHED.values():
        for row in table.rows:
            yield table, row


# -- the file --------------------------------------------------------------------------------------


def test_every_table_is_there_and_says_where_it_is_from() -> None:
    assert len(PAPER) == 6
    for table in PUBLISHED.values():
        assert table.title
        assert table.source
        assert table.where
        assert len(set(table.columns)) == len(table.columns)
        assert len({row.name for row in table.rows}) == len(table.rows)


def test_a_row_has_a_cell_for_each_column() -> None:
    for table, row in all_rows():
        assert len(row.cells) == len(table.columns), (table.title, row.name)


def test_figures_keep_the_digits_that_are_printed() -> None:
    row = PUBLISHED["table4"].rows[1]
    assert str(row.cells[0]) == "98.80"
    assert row.cells[0].half == Decimal("0.005")
    sop = next(row for row in PUBLISHED["cifar_n"].rows if row.method == "sop_plus")
    assert sop.cells[0] == Cell(Decimal("96.53"), Decimal("0.05"), bold=True)
    assert str(sop.cells[0]) == "**96.53 ± 0.05**"


def test_a_cell_is_found_by_what_it_is_of() -> None:
    table = PUBLISHED["table2"]
    row = table.rows[-1]
    assert str(table.cell(row, noise="sym50", convention="best")) == "**55.1**"
    for noise, number in (("sym50", 2), ("sym80", 0)):
        with pytest.raises(KeyError, match=f"{number} columns"):
            table.cell(row, noise=noise)


def test_names_are_those_of_the_configurations() -> None:
    def known(group: str) -> set[str]:
        return {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}

    methods = {row.method for _, row in all_rows() if row.method is not None}
    assert methods <= known("method")
    columns = [column for table in PUBLISHED.values() for column in table.columns]
    assert {column.dataset for column in columns} <= known("dataset")
    typed = {"human_random2", "human_random3"}  # noise=human_random1 noise.key=random_label2
    assert {column.noise for column in columns} <= known("noise") | typed
    for key in ("measure", "convention"):
        assert {getattr(column, key) for column in columns} <= KEYS[key]
    assert {row.draws for _, row in all_rows()} <= KEYS["draws"]


def test_it_is_yaml_for_any_reader() -> None:
    assert yaml.safe_load(FILE.read_text(encoding="utf-8")).keys() == PUBLISHED.keys()


# -- the paper's text ------------------------------------------------------------------------------


def shared(pattern: str) -> str:
    for above in ROOT.parents:
        for path in (above / "shared").glob(pattern):
            return path.read_text(encoding="utf-8")
    pytest.skip(f"no ../shared/{pattern}")


def paper() -> str:
    return shared("paper/*.txt")


def block(name: str) -> list[str]:
    """The lines of a table in the paper's text: those above its caption."""
    above = paper().partition(f"\nTable {name.removeprefix('table')}.")[0].rstrip()
    return above.rpartition("\n\n")[2].split("\n")


def printed(name: str) -> list[list[str]]:
    """The figures of each line that has any."""
    lines = [re.findall(r"\d+\.\d+", line) for line in block(name)]
    return [line for line in lines if line]


def as_printed(name: str) -> list[list[str]]:
    """The same of the file."""
    table = PUBLISHED[name]
    if name in BY_ROWS:
        return [[str(cell).strip("*") for cell in row.cells] for row in table.rows]
    measures = dict.fromkeys(column.measure for column in table.columns)
    return [
        [
            str(table.cell(row, dataset=dataset, noise=noise, measure=measure)).strip("*")
            for dataset, noise in table.places
            for row in table.rows
        ]
        for measure in measures
    ]


@pytest.mark.data
@pytest.mark.parametrize("name", PAPER)
def test_it_is_what_the_paper_prints(name: str) -> None:
    """Each line of figures, whole and in its order; so nothing is left out, nor made up."""
    assert as_printed(name) == printed(name)


@pytest.mark.data
@pytest.mark.parametrize("name", PAPER)
def test_methods_are_named_as_the_paper_does(name: str) -> None:
    lines = block(name)
    heads = [re.sub(r" \[\d+\]", "", line.split("\t")[0]) for line in lines]
    names = [row.name for row in PUBLISHED[name].rows]
    if name in BY_ROWS:
        assert heads[-len(names) :] == names
    else:
        assert all(each in "\n".join(lines) for each in names)


@pytest.mark.data
@pytest.mark.parametrize("name", PAPER)
def test_bold_is_what_the_paper_prints_bold(name: str) -> None:
    bold = re.findall(r"<b>([\d.]+)</b>", "\n".join(block(name)))
    cells = [cell for row in PUBLISHED[name].rows for cell in row.cells]
    assert [f"{cell.value}" for cell in cells if cell.bold] == bold


@pytest.mark.data
@pytest.mark.parametrize("name", ["cifar_n", "cifar_n_claimed"])
def test_figures_of_cifar_n_are_those_that_were_noted(name: str) -> None:
    """As `CE 91.70/90.20/83.91/61.19`, of four columns and of the methods that were noted so."""
    notes, table = shared("FIELD.md"), PUBLISHED[name]
    wanted = ("human_aggre", "human_random1", "human_worse", "human_fine")
    for row in table.rows:
        if row.name not in ("Co-teaching+", "VolMinNet", "CAL", "ProMix"):
            figures = "/".join(str(table.cell(row, noise=noise).value) for noise in wanted)
            assert f"{row.name.replace(' ', '')} {figures}" in notes
