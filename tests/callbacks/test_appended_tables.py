"""Tables that grow: appended, cut off by a kill, gone back in."""

import os
from pathlib import Path

import pytest
import torch

from pmnar.callbacks.classes_table import ClassesTable, class_rows, move_older_columns
from pmnar.callbacks.metrics_table import AppendedTable, read_cells, read_rows, write_rows
from pmnar.errors import WriteError

NAMES = ("cat", "dog, hot", "emu")


def filled(path: Path, epochs: int = 3) -> AppendedTable:
    """A table of so many epochs."""
    table = AppendedTable(path)
    for epoch in range(1, epochs + 1):
        table.append([{"epoch": epoch, "loss": 1 / epoch}])
    return table


def test_a_row_is_appended_and_nothing_else_is_touched(tmp_path: Path) -> None:
    table = filled(tmp_path / "m.csv", 2)
    before, file = (tmp_path / "m.csv").read_bytes(), (tmp_path / "m.csv").stat().st_ino
    table.append([{"epoch": 3, "loss": 0.25}])
    assert (tmp_path / "m.csv").read_bytes() == before + b"3,0.25\n"
    assert (tmp_path / "m.csv").stat().st_ino == file


def test_a_new_column_writes_the_table_anew_once(tmp_path: Path) -> None:
    table = filled(tmp_path / "m.csv", 2)
    table.append([{"epoch": 3, "loss": 0.25, "f1": 0.5}])
    inode = (tmp_path / "m.csv").stat().st_ino
    table.append([{"epoch": 4, "f1": 0.75}])
    assert (tmp_path / "m.csv").stat().st_ino == inode
    lines = ["epoch,loss,f1", "1,1.0,", "2,0.5,", "3,0.25,0.5", "4,,0.75"]
    assert (tmp_path / "m.csv").read_text().splitlines() == lines


@pytest.mark.parametrize("bytes_left", [1, 4, 5])
def test_a_row_that_a_kill_cut_off_does_not_count(tmp_path: Path, bytes_left: int) -> None:
    """`3,0.3333…` cut after `3,0.3` would be another number."""
    path = tmp_path / "m.csv"
    filled(path, 2)
    whole = path.stat().st_size
    filled(path, 3)
    os.truncate(path, whole + bytes_left)
    assert [row["epoch"] for row in read_rows(path)] == [1, 2]


def test_a_resumed_run_is_the_unbroken_one_to_the_byte(tmp_path: Path) -> None:
    """Of the epochs behind its checkpoint, whatever the killed one has left of later ones."""
    whole = filled(tmp_path / "whole.csv", 4)
    assert whole.path.read_text().count("\n") == 5
    for epochs in (2, 3, 4):
        path = tmp_path / f"{epochs}.csv"
        killed = filled(path, epochs)
        killed.append([{"epoch": epochs + 1, "loss": 9.0, "only_later": 1.0}])
        path.write_bytes(path.read_bytes() + b"7,0.")
        resumed = AppendedTable(path)
        resumed.go_back(2)
        for epoch in (3, 4):
            resumed.append([{"epoch": epoch, "loss": 1 / epoch}])
        assert path.read_bytes() == whole.path.read_bytes()


def test_going_back_leaves_the_file_until_a_row_comes(tmp_path: Path) -> None:
    before = filled(tmp_path / "m.csv").path.read_bytes()
    table = AppendedTable(tmp_path / "m.csv")
    table.go_back(1)
    assert [row["epoch"] for row in table.kept()] == ["1"]
    assert (tmp_path / "m.csv").read_bytes() == before


def test_a_table_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    table = filled(tmp_path / "m.csv", 1)
    (tmp_path / "m.csv").unlink()
    (tmp_path / "m.csv").mkdir()
    with pytest.raises(WriteError, match=r"cannot write .*m\.csv: "):
        table.append([{"epoch": 2, "loss": 0.5}])


def test_rows_of_classes_leave_out_what_is_not_known(tmp_path: Path) -> None:
    recall = torch.tensor([0.25, torch.nan, 1.0])
    rows = class_rows(1, {"recall": recall, "given": torch.tensor([3, 0, 5])}, NAMES)
    assert rows == [
        {"epoch": 1, "class": 0, "name": "cat", "recall": 0.25, "given": 3},
        {"epoch": 1, "class": 1, "name": "dog, hot", "given": 0},
        {"epoch": 1, "class": 2, "name": "emu", "recall": 1.0, "given": 5},
    ]
    ClassesTable(tmp_path).append(rows)
    assert [row["name"] for row in read_cells(tmp_path / "classes.csv")] == list(NAMES)


def test_summaries_of_classes_are_over_the_epochs_that_have_them(tmp_path: Path) -> None:
    table = ClassesTable(tmp_path)
    for epoch in range(1, 13):
        recall = torch.tensor([epoch / 16, torch.nan, 1 / epoch], dtype=torch.float64)
        table.append(class_rows(epoch, {"recall": recall}, NAMES))
    found = table.summaries("recall", NAMES)
    assert found.keys() == {"cat", "emu"}
    assert found["cat"] == {"best": 0.75, "last": 0.75, "mean_last_10": 7.5 / 16}
    assert (found["emu"]["best"], found["emu"]["last"]) == (1, 1 / 12)
    assert table.summaries("weight", NAMES) == {}


def test_an_older_table_s_columns_of_classes_are_moved(tmp_path: Path) -> None:
    older = [
        {"epoch": 1, "loss": 2.0, "recall_class_0": 0.5, "weight_class_2": 0.125},
        {"epoch": 2, "loss": 1.0, "recall_class_0": 0.75, "weight_class_2": 0.25},
    ]
    write_rows(tmp_path / "metrics.csv", older)
    for _ in range(2):  # a second time changes nothing
        move_older_columns(tmp_path, NAMES)
        assert read_rows(tmp_path / "metrics.csv") == [
            {"epoch": 1, "loss": 2.0},
            {"epoch": 2, "loss": 1.0},
        ]
        rows = list(read_cells(tmp_path / "classes.csv"))
        assert rows[3] == {"epoch": "2", "class": "0", "name": "cat", "recall": "0.75"}
        assert rows[5] == {"epoch": "2", "class": "2", "name": "emu", "weight": "0.25"}


def test_a_class_s_name_may_hold_bytes_that_are_no_text(tmp_path: Path) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    ClassesTable(tmp_path).append(class_rows(1, {"recall": torch.ones(2)}, (name, "猫")))
    assert [row["name"] for row in read_cells(tmp_path / "classes.csv")] == [name, "猫"]
