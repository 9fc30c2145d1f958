"""`metrics.csv`."""

import math
import random
from pathlib import Path

import pytest

from pmnar.callbacks.metrics_table import Row, read_rows, summarise, write_rows


def test_rows_come_back_to_the_bit(tmp_path: Path) -> None:
    draw = random.Random(0)
    values = [draw.uniform(-1, 1) * 10.0 ** draw.randint(-300, 300) for _ in range(200)]
    values += [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3, math.inf]
    rows = [{"epoch": i + 1, "value": value} for i, value in enumerate(values)]
    write_rows(tmp_path / "m.csv", rows)
    assert read_rows(tmp_path / "m.csv") == rows


def test_a_value_that_is_no_number_comes_back(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.csv", [{"epoch": 1, "loss": math.nan}])
    assert math.isnan(read_rows(tmp_path / "m.csv")[0]["loss"])


def test_rows_may_lack_values_and_gain_columns(tmp_path: Path) -> None:
    rows = [
        {"epoch": 1, "loss": 2.0},
        {"epoch": 2, "weight": 0.0, "loss": 1.5},
        {"epoch": 3, "f1": 0.25},
    ]
    write_rows(tmp_path / "m.csv", rows)
    assert read_rows(tmp_path / "m.csv") == rows
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines == ["epoch,loss,weight,f1", "1,2.0,,", "2,1.5,0.0,", "3,,,0.25"]


def test_epochs_are_whole_numbers(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.csv", [{"epoch": 7}])
    epoch = read_rows(tmp_path / "m.csv")[0]["epoch"]
    assert isinstance(epoch, int)


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "m.csv") == []


def test_a_column_s_summary() -> None:
    rows = [{"epoch": i, "accuracy": float(i % 12)} for i in range(1, 24)]
    values = [row["accuracy"] for row in rows]
    found = summarise(rows, "accuracy")
    assert (found["best"], found["last"]) == (11.0, 11.0)
    assert found["mean_last_10"] == pytest.approx(sum(values[-10:]) / 10)


def test_a_summary_covers_the_epochs_that_have_the_column() -> None:
    rows: list[Row] = [
        {"epoch": 1, "f1": 0.5},
        {"epoch": 2},
        {"epoch": 3, "f1": 0.25},
        {"epoch": 4},
    ]
    assert summarise(rows, "f1") == {"best": 0.5, "last": 0.25, "mean_last_10": 0.375}
    assert summarise(rows, "precision") == {}
    assert summarise([], "f1") == {}
