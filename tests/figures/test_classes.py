"""The figure of every class over the epochs."""

import csv
from pathlib import Path

import numpy as np
import pytest

from pmnar.figures.classes import MOST, class_curves, panels
from pmnar.figures.style import BLUE, VERMILION
from pmnar.figures.tables import read_classes
from pmnar.figures.write import write_figures

NAMES = ["cat", "$dog", "<ship>"]


def write(path: Path, epochs: int = 4, classes: int = 3, **columns: float | None) -> Path:
    """A table whose second class fades; a column given as None is empty."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "class", "name", "recall", "weight", "recall_given"])
        for epoch in range(1, epochs + 1):
            for k in range(classes):
                value = 0.5 if k != 1 else 0.5 / epoch
                cells = {name: columns.get(name, value) for name in ("recall", "weight")}
                writer.writerow([epoch, k, f"c{k}", *cells.values(), value])
    return path


def test_the_table_is_read_class_by_class(tmp_path: Path) -> None:
    path = write(tmp_path / "classes.csv")
    found = read_classes(path)
    assert found.epochs.tolist() == [1, 2, 3, 4]
    expected = [[0.5, 0.5 / epoch, 0.5] for epoch in range(1, 5)]
    np.testing.assert_allclose(found.columns["recall"], expected)
    with path.open("a") as file:  # an epoch that was cut off, in a line and before its end
        file.write("5,0,c0,0.1,0.1,0.1\n5,1,c1,0.")
    assert read_classes(path).epochs.tolist() == [1, 2, 3, 4]
    nothing = read_classes(tmp_path / "none.csv")
    assert not len(nothing.epochs)
    assert not nothing.columns


def test_one_recall_is_drawn_and_weights_that_differ(tmp_path: Path) -> None:
    both = read_classes(write(tmp_path / "a.csv"))
    assert panels(both) == ["recall", "weight"]
    alike = read_classes(write(tmp_path / "b.csv", weight=1.0))
    assert panels(alike) == ["recall"]
    no_test = read_classes(write(tmp_path / "c.csv", recall=None, weight=None))
    assert panels(no_test) == ["recall_given"]


@pytest.mark.parametrize("lost", [[], ["$dog"]])
def test_a_lost_class_stands_out_and_else_the_lowest(tmp_path: Path, lost: list[str]) -> None:
    figure = class_curves(read_classes(write(tmp_path / "a.csv")), NAMES, lost, {"begins": 2})
    for axes in figure.axes:
        colours = [line.get_color() for line in axes.lines]
        assert colours.count(VERMILION if lost else BLUE) == 1
        assert any(text.get_text() == "$dog" for text in axes.texts)
    assert any(text.get_text() == "begins" for text in figure.axes[0].texts)


def test_a_run_has_the_figure_where_it_can_be_read(tmp_path: Path) -> None:
    write(tmp_path / "classes.csv")
    assert "classes" in [path.stem for path in write_figures(tmp_path)]
    write(tmp_path / "classes.csv", epochs=1)
    assert "classes" not in [path.stem for path in write_figures(tmp_path)]
    names = [str(k) for k in range(MOST + 1)]
    (tmp_path / "summary.json").write_text('{"class_names": ["' + '", "'.join(names) + '"]}')
    write(tmp_path / "classes.csv", classes=MOST + 1)
    assert "classes" not in [path.stem for path in write_figures(tmp_path)]
