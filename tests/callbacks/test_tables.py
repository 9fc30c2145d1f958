"""The tables that a run leaves."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import ABLATIONS, SIZE, Watched, fit, make_data, make_method, make_setting

from pmnar.callbacks.detection import DetectionMonitor
from pmnar.callbacks.metrics_table import read_cells, read_rows
from pmnar.callbacks.tables import RunTables
from pmnar.data import Batch
from pmnar.detection import detection_metrics, read_samples
from pmnar.methods.measurement import Outputs


def run(folder: Path, name: str, epochs: int, truth_known: bool = True) -> Watched:
    """Train with the callbacks that a run has."""
    data = make_data()
    method = make_method(data, **ABLATIONS[name])
    assert data.labels.true is not None
    true = torch.from_numpy(data.labels.true) if truth_known else None
    samples = {"true": true, "index": torch.from_numpy(data.labels.index), "paths": None}
    tables = RunTables(folder, {"method": name}, samples)
    fit(method, data, epochs, [DetectionMonitor(true), tables], enable_checkpointing=True)
    return method


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_a_row_an_epoch(tmp_path: Path) -> None:
    method = run(tmp_path, "pmnar", 3)
    rows = read_rows(tmp_path / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row, recorded in zip(rows, method.rows, strict=True):
        assert recorded.items() <= row.items()
        assert {"accuracy_first", "accuracy_second", "accuracy_ensemble", "seconds"} <= row.keys()


def test_detection_is_that_of_the_final_networks(tmp_path: Path) -> None:
    method = run(tmp_path, "pmnar", 2)
    found = read_rows(tmp_path / "metrics.csv")[-1]
    true = make_data().labels.true
    assert true is not None
    confidence = method.measure().confidence["first"]
    expected = detection_metrics(confidence, method.labels, torch.from_numpy(true))
    for name, value in expected.items():
        if name != "threshold":
            assert found[f"detection_{name}"] == value
    assert summary(tmp_path)["detection"] == expected
    assert expected["actual_noise_rate"] == 0.5


@pytest.mark.parametrize("name", ["ce", "pmnar"])
def test_precision_times_predicted_is_recall_times_actual(tmp_path: Path, name: str) -> None:
    """The identity of the paper's Table 4, on our own output."""
    run(tmp_path, name, 3)
    found = summary(tmp_path)["detection"]
    left = found["precision"] * found["estimated_noise_rate"]
    assert left == pytest.approx(found["recall"] * found["actual_noise_rate"], rel=1e-6)


def test_a_method_without_a_pass_is_asked_for_one_at_the_end(tmp_path: Path) -> None:
    """For the summary alone: a run that goes on from here has no such pass after this epoch."""
    run(tmp_path, "ce", 3)
    rows = read_rows(tmp_path / "metrics.csv")
    assert not [key for row in rows for key in row if key.startswith("detection_")]
    assert 0 <= summary(tmp_path)["detection"]["f1"] <= 1


def test_what_is_not_known_is_absent(tmp_path: Path) -> None:
    run(tmp_path, "ce", 1, truth_known=False)
    found = summary(tmp_path)
    assert found["detection"].keys() == {"threshold", "estimated_noise_rate"}
    assert found["weight_per_class"] == {}
    columns = read_samples(tmp_path / "samples.parquet").column_names
    assert not {"true_label", "weight", "path"} & set(columns)


def test_the_summary_describes_the_run(tmp_path: Path) -> None:
    method = run(tmp_path, "pmnar", 3)
    rows, found = read_rows(tmp_path / "metrics.csv"), summary(tmp_path)
    assert found["method"] == "pmnar"
    assert found["epochs"] == 3
    assert found["parameters"] == sum(p.numel() for p in method.networks["first"].parameters())
    assert found["accuracy"].keys() == {"first", "second", "ensemble"}
    for split, suffix in (("accuracy", ""), ("accuracy_other", "_other")):
        for output, figures in found[split].items():
            values = [row[f"accuracy_{output}{suffix}"] for row in rows]
            assert figures["best"] == max(values)
            assert figures["last"] == values[-1]
            assert figures["mean_last_10"] == pytest.approx(sum(values) / 3)
    assert found["seconds"]["total"] == pytest.approx(sum(row["seconds"] for row in rows))
    assert found["recall_per_class"].keys() == set(method.class_names)


def test_the_table_of_samples_describes_the_final_networks(tmp_path: Path) -> None:
    method = run(tmp_path, "pmnar", 2)
    columns = read_samples(tmp_path / "samples.parquet").to_pydict()
    measured = method.measure()
    assert columns["index"] == list(range(SIZE))
    assert columns["given_label"] == method.labels.tolist()
    assert columns["confidence"] == measured.confidence["first"].tolist()
    assert columns["suggested_label"] == measured.prediction["first"].tolist()
    weights = method.weights
    assert weights is not None
    assert columns["weight"] == weights.tolist()
    other = [
        a != b for a, b in zip(columns["suggested_label"], columns["given_label"], strict=True)
    ]
    called = [value < 0.5 for value in columns["confidence"]]
    assert columns["mislabelled"] == [a and b for a, b in zip(called, other, strict=True)]
    assert columns["unsure"] == [a and not b for a, b in zip(called, other, strict=True)]
    found = summary(tmp_path)
    assert (found["suspects"], found["unsure"]) == (
        sum(columns["mislabelled"]),
        sum(columns["unsure"]),
    )
    assert found["suspects"] + found["unsure"] == sum(called)


def test_a_run_that_stops_early_leaves_no_summary(tmp_path: Path) -> None:
    class Interrupted(DetectionMonitor):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                raise RuntimeError("the power went")

    data = make_data()
    tables = RunTables(tmp_path, {}, {})
    method = make_method(data, **ABLATIONS["ce"])
    with pytest.raises(RuntimeError, match="the power went"):
        fit(method, data, 3, [tables, Interrupted(None)], enable_checkpointing=True)
    assert [row["epoch"] for row in read_rows(tmp_path / "metrics.csv")] == [1, 2]
    assert not (tmp_path / "summary.json").exists()


class Opinionated(Watched):
    """Measures the whole of p, and has an opinion of its own by it."""

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        return {"p": outputs["first"].probabilities}

    def scores(self) -> dict[str, Tensor]:
        return {"entropy": -self.measure().kept["p"].xlogy(self.measure().kept["p"]).sum(-1)}


def test_a_method_s_own_scores_are_columns_of_the_samples(tmp_path: Path) -> None:
    data = make_data()
    method = Opinionated(make_setting(data), warmup_epochs=1)
    method.attach(data)
    index = torch.from_numpy(data.labels.index)
    tables = RunTables(tmp_path, {}, {"true": None, "index": index, "paths": None})
    fit(method, data, 2, [DetectionMonitor(None), tables], enable_checkpointing=True)
    table = read_samples(tmp_path / "samples.parquet")
    assert table.column_names[-1] == "entropy"
    p = method.measure().kept["p"]
    assert torch.equal(p.max(-1).values, method.measure().top["first"])
    expected = -(p * p.log()).sum(-1)
    torch.testing.assert_close(torch.tensor(table["entropy"].to_pylist()), expected)


def test_tables_end_with_the_run_that_goes_back_and_trains_no_more(tmp_path: Path) -> None:
    method = run(tmp_path, "pmnar", 4)
    whole = {name: list(read_cells(tmp_path / name)) for name in ("metrics.csv", "classes.csv")}
    tables = RunTables(tmp_path, {}, {"true": None, "index": torch.arange(SIZE), "paths": None})
    trainer: Any = SimpleNamespace(is_global_zero=True, max_epochs=2)
    tables.on_load_checkpoint(trainer, method, {"epoch": 1})
    tables.on_fit_start(trainer, method)
    assert summary(tmp_path)["epochs"] == 2
    for name, rows in whole.items():
        left = [row for row in rows if int(row["epoch"]) <= 2]
        assert list(read_cells(tmp_path / name)) == left
