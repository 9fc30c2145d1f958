"""Reading metrics.csv and summary.json."""

import math
from pathlib import Path

import pytest

from pmnar.errors import InputError
from pmnar.figures import read_metrics, read_summary
from pmnar.figures.tables import epochs_of, lookup, read_class_weights


def test_empty_cells_are_nan_and_empty_columns_absent(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,loss,accuracy_first,later\n1,2.5,,\n2,nan,0.5\n")
    metrics = read_metrics(path)
    assert metrics.keys() == {"epoch", "loss", "accuracy_first"}
    assert metrics["epoch"].tolist() == [1, 2]
    assert [math.isnan(value) for value in metrics["accuracy_first"]] == [True, False]


def test_epochs_count_from_one_without_a_column(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("loss\n2\n1\n")
    assert epochs_of(read_metrics(path)).tolist() == [1, 2]


@pytest.mark.parametrize("content", ["", "epoch,loss\n"])
def test_a_run_that_stopped_early_has_no_metrics(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.csv"
    assert read_metrics(path) == {}
    path.write_text(content)
    assert read_metrics(path) == {}


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,loss\n1,high\n")
    with pytest.raises(InputError, match="column loss: 'high' is not a number"):
        read_metrics(path)


@pytest.mark.parametrize(("content", "message"), [("{", "is not JSON"), ("[1]", "a JSON object")])
def test_a_broken_summary_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "summary.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_summary(path)


def test_lookup_of_what_is_absent_is_none() -> None:
    summary: dict[str, object] = {"accuracy": {"first": {"best": 0.9}}, "noise": None}
    assert lookup(summary, "accuracy", "first", "best") == 0.9
    assert lookup(summary, "accuracy", "second", "best") is None
    assert lookup(summary, "noise", "name") is None


def test_weights_of_classes_are_those_of_the_last_epoch(tmp_path: Path) -> None:
    """Without a last line that a kill has cut off."""
    path = tmp_path / "classes.csv"
    path.write_text(
        "epoch,class,name,recall,weight\n"
        '1,0,"dog, hot",0.5,1.0\n1,1,cat,,1.0\n'
        '2,0,"dog, hot",0.5,0.25\n2,1,cat,,\n3,0,"dog, hot",0.5,0.1'
    )
    assert read_class_weights(path) == {0: 0.25, 1: 1.0}
    assert read_class_weights(tmp_path / "none.csv") == {}
