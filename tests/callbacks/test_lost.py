"""Classes that the networks stop predicting."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from toy import ABLATIONS, SIZE, FewDigits, fit, make_data, make_method, measured, prepared

from pmnar.callbacks.lost import LostClasses
from pmnar.callbacks.metrics_table import read_cells
from pmnar.callbacks.tables import RunTables
from pmnar.detection import class_counts, describe_lost

GIVEN = torch.arange(100) % 5  # twenty of each


def test_a_class_is_lost_under_a_tenth_of_its_given_share() -> None:
    prediction = GIVEN.clone()
    prediction[GIVEN == 1] = 0
    prediction[(GIVEN == 2).nonzero()[:18, 0]] = 0  # two are left: a tenth
    prediction[(GIVEN == 3).nonzero()[:19, 0]] = 0  # one is left
    counts = class_counts(prediction, GIVEN, 6)
    assert counts.lost == [1, 3]  # not 5, which is given to none
    assert counts.predicted.tolist() == [77, 0, 2, 1, 20, 0]
    assert counts.recall[:5].tolist() == [1, 0, 0.1, 0.05, 1]
    assert counts.recall[5].isnan()
    assert describe_lost(counts, counts.lost, "abcdef") == "b: 0/20, d: 1/20"
    assert describe_lost(counts, [0] * 11, "abcdef").endswith("a: 77/20, and 3 more")


def end_epoch(watch: LostClasses, method: Any, epoch: int) -> None:
    trainer: Any = SimpleNamespace(current_epoch=epoch - 1, max_epochs=30)
    watch.on_train_epoch_end(trainer, method)


def test_each_class_is_warned_of_once_and_at_once(recwarn: pytest.WarningsRecorder) -> None:
    measurement = measured()
    method = prepared(measurement)
    labels = method.labels
    watch = LostClasses()
    for epoch, lost in ((3, []), (4, [2]), (5, [2, 7]), (6, [7])):
        prediction = labels.clone()
        for k in lost:
            prediction[labels == k] = 0
        measurement.prediction["first"] = prediction
        end_epoch(watch, method, epoch)
        assert (
            method.by_class["predicted"].tolist()
            == torch.bincount(prediction, minlength=10).tolist()
        )
    told = [str(w.message) for w in recwarn if "hardly predicts" in str(w.message)]
    assert len(told) == 2
    assert told[0].startswith("after epoch 4 the first network hardly predicts 1 of 10 classes")
    assert " 2: 0/" in told[0]
    assert told[1].startswith("after epoch 5 ")
    assert " 7: 0/" in told[1]
    assert " 2: 0/" not in told[1]


def test_the_method_is_named_where_that_is_known(recwarn: pytest.WarningsRecorder) -> None:
    measurement = measured()
    method = prepared(measurement)
    measurement.prediction["first"] = torch.zeros_like(method.labels)
    end_epoch(LostClasses("ce"), method, 4)
    told = [str(w.message) for w in recwarn if "hardly predicts" in str(w.message)]
    assert len(told) == 1
    assert told[0].startswith("ce: after epoch 4 the first network hardly predicts 9 of 10 ")


def test_a_class_that_was_not_learnt_yet_is_not_called_lost_early(
    recwarn: pytest.WarningsRecorder,
) -> None:
    measurement = measured()
    method = prepared(measurement)
    watch, labels = LostClasses(), method.labels
    half = torch.where(labels < 5, labels, 0)  # of thirty epochs the first three are early
    without_2 = torch.where(labels == 2, 0, labels)
    for epoch, prediction in ((1, half), (2, half), (3, without_2), (4, without_2), (5, half)):
        measurement.prediction["first"] = prediction
        end_epoch(watch, method, epoch)
    told = [str(w.message) for w in recwarn if "hardly predicts" in str(w.message)]
    assert [text.partition(" the first")[0] for text in told] == ["after epoch 3", "after epoch 5"]
    assert "predicts 1 of" in told[0]  # 2, which was learnt
    assert "predicts 5 of" in told[1]  # 5 to 9


def test_without_a_pass_nothing_is_asked_for() -> None:
    method = prepared(measured())
    method.measurement = None
    end_epoch(LostClasses(), method, 1)
    assert method.by_class.keys() == {"weight"}


def test_the_table_of_classes_has_what_each_class_counts(tmp_path: Path) -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS["pmnar"])
    fit(method, data, 3, [LostClasses(), RunTables(tmp_path, {}, {})], enable_checkpointing=True)
    rows = [row for row in read_cells(tmp_path / "classes.csv") if row["epoch"] == "3"]
    prediction = method.measure().prediction["first"]
    for k, row in enumerate(rows):
        right = int(((prediction == k) & (method.labels == k)).sum())
        given, predicted = (int((each == k).sum()) for each in (method.labels, prediction))
        assert (int(row["given"]), int(row["predicted"])) == (given, predicted)
        assert float(row["recall_given"]) == right / given
    assert sum(int(row["predicted"]) for row in rows) == SIZE


class WithoutNines(FewDigits):
    """Digits of which no 9 is in the first test split."""

    def load(self) -> Any:
        data = super().load()
        split = data.test["test"]
        kept = split.labels != 9
        data.test["test"] = type(split)(split.images[kept], split.labels[kept])
        return data


def test_a_class_without_test_images_has_no_recall(tmp_path: Path) -> None:
    """Not 0, which would say that none is recognised."""
    data = make_data(source=WithoutNines())
    method = make_method(data, **ABLATIONS["ce"])
    fit(method, data, 2, [RunTables(tmp_path, {}, {})], enable_checkpointing=True)
    assert method.by_class["recall"][9].isnan()
    rows = list(read_cells(tmp_path / "classes.csv"))
    assert [row["class"] for row in rows if "recall" not in row] == ["9", "9"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["recall_per_class"].keys() == set("012345678")
