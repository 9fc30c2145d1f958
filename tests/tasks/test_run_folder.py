"""What a run leaves: its files, and what they say about each other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import official_data
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from pmnar.noise import NoisyLabels

Rows = list[dict[str, str]]
Run = Callable[..., Path]
ReadRows = Callable[[Path], Rows]


def files_of(folder: Path) -> set[str]:
    """The files of a run, as paths below its folder."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def summary_of(folder: Path) -> dict[str, Any]:
    """The content of `summary.json`."""
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


TABLES = {"config.yaml", "metrics.csv", "classes.csv", "summary.json", "samples.parquet"}
TABLES |= {"labels.npz", "suspects.csv", ".lock"}
FIGURES = {
    f"figures/{name}.png"
    for name in ("accuracy", "classes", "confidence", "detection", "weights", "suspicious")
}


def test_files_are_those_that_are_promised(short_run: Run, runs: Path) -> None:
    folder = short_run("figures=true")
    assert files_of(folder) == TABLES | FIGURES | {"checkpoints/last.ckpt", "report.html"}
    assert folder.parent == runs.absolute() / "digits" / "sym50" / "pmnar"
    for name in FIGURES:
        with Image.open(folder / name) as image:
            image.verify()
    assert "</html>" in (folder / "report.html").read_text(encoding="utf-8")


def test_config_is_resolved_and_whole(short_run: Run) -> None:
    saved = OmegaConf.load(short_run() / "config.yaml")
    assert OmegaConf.to_container(saved, resolve=False) == OmegaConf.to_container(saved)
    assert "${" not in str(OmegaConf.to_container(saved, resolve=False))
    assert (saved.trainer.max_epochs, saved.method.warmup_epochs) == (3, 1)


COLUMNS = {
    "epoch",
    "learning_rate",
    "loss",
    "loss_first",
    "loss_second",
    "loss_consistency",
    "complementary_size",
    "mean_weight_first",
    "mean_weight_second",
    "accuracy_first",
    "accuracy_second",
    "accuracy_ensemble",
}
AFTER_WARMUP = {
    "min_confidence_first",
    "min_confidence_second",
    *(
        f"detection_{name}"
        for name in (
            *("precision", "recall", "f1", "auroc"),
            *("estimated_noise_rate", "actual_noise_rate"),
        )
    ),
}


def test_metrics_have_a_row_an_epoch(short_run: Run, rows: ReadRows) -> None:
    table = rows(short_run("dataset.recipe.max_epochs=4", "method.warmup_epochs=2"))
    assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
    assert set(table[0]) == COLUMNS | AFTER_WARMUP
    # Epoch 2 ends with what epoch 3, the first after the warm-up, is prepared with.
    assert {name for name, value in table[0].items() if value == ""} == AFTER_WARMUP
    assert not [name for row in table[1:] for name, value in row.items() if value == ""]
    values = [{name: float(value) for name, value in row.items() if value} for row in table]
    assert [row["learning_rate"] for row in values] == pytest.approx([0.02, 0.02, 0.002, 0.002])
    assert (values[0]["mean_weight_first"], values[0]["complementary_size"]) == (1, 9)
    for row in values:
        parts = row["loss_first"] + row["loss_second"] + row["loss_consistency"]
        assert row["loss"] == pytest.approx(parts, rel=1e-5)
        shares = {name: value for name, value in row.items() if "accuracy" in name}
        assert all(0 <= value <= 1 for value in shares.values())


def test_summary_says_what_is_promised(short_run: Run) -> None:
    folder = short_run()
    summary = summary_of(folder)
    assert set(summary["accuracy"]) == {"first", "second", "ensemble"}
    for values in summary["accuracy"].values():
        assert set(values) == {"best", "last", "mean_last_10"}
        assert values["best"] >= values["mean_last_10"]
    assert set(summary["detection"]) >= {
        *("threshold", "precision", "recall", "f1"),
        *("estimated_noise_rate", "actual_noise_rate"),
    }
    assert set(summary["noise"]) == {"name", "nominal_rate", "actual_rate", "seed"}
    assert set(summary["seconds"]) == {"total", "per_epoch", "reweighting"}
    assert summary["seconds"]["total"] == pytest.approx(3 * summary["seconds"]["per_epoch"])
    assert {"torch", "lightning", "python"} <= set(summary["versions"])
    assert summary["compute"]["device"] == "cpu"
    assert summary["compute"]["precision"] == "32-true"
    assert summary["compute"]["compile"] == "off"
    assert {"cpu", "cores"} <= set(summary["hardware"])
    assert (summary["epochs"], summary["samples"], summary["run"]) == (3, 200, str(folder))
    assert summary["events"] == {"warm-up ends": 1}
    assert "warmup_epochs" not in summary
    assert set(summary["recall_per_class"]) == {str(digit) for digit in range(10)}


def test_summary_is_the_metrics_last_rows(short_run: Run, rows: ReadRows) -> None:
    folder = short_run()
    summary, table = summary_of(folder), rows(folder)
    for output, values in summary["accuracy"].items():
        column = [float(row[f"accuracy_{output}"]) for row in table]
        assert values["last"] == column[-1]
        assert values["best"] == max(column)
        assert values["mean_last_10"] == pytest.approx(sum(column) / len(column), rel=1e-12)
    detection = {k: v for k, v in summary["detection"].items() if k != "threshold"}
    assert detection == {name: float(table[-1][f"detection_{name}"]) for name in detection}


def test_samples_agree_with_the_summary(short_run: Run) -> None:
    """Detection recomputed from the table; Table 4: precision × predicted = recall × actual."""
    folder = short_run("dataset.recipe.max_epochs=8", "dataset.recipe.milestones=[7]")
    table, summary = pq.read_table(folder / "samples.parquet"), summary_of(folder)
    assert table.column_names == [
        *("index", "given_label", "given_name", "true_label", "confidence", "weight"),
        *("suggested_label", "suggested_name", "suggested_confidence", "mislabelled", "unsure"),
        *("lost_class", "margin", "recent_confidence"),
    ]
    lost = [summary["class_names"].index(name) for name in summary["lost_classes"]]
    in_lost = np.isin(table["given_label"].to_numpy(), lost)
    assert (table["lost_class"].to_numpy() == in_lost).all()
    column = {name: table[name].to_numpy() for name in table.column_names}
    assert len(table) == 200
    assert (np.diff(column["index"]) > 0).all()
    called = column["confidence"] < np.float32(0.5)
    assert (called == (column["mislabelled"] | column["unsure"])).all()
    same = column["suggested_label"] == column["given_label"]
    assert (column["mislabelled"] == (called & ~same)).all()
    assert not (column["mislabelled"] & column["unsure"]).any()
    assert summary["suspects"] == column["mislabelled"].sum()
    assert summary["unsure"] == column["unsure"].sum() > 0
    wrong = column["given_label"] != column["true_label"]
    hits = (called & wrong).sum()
    found = summary["detection"]
    assert 0 < hits < 200
    assert found["precision"] == pytest.approx(hits / called.sum())
    assert found["recall"] == pytest.approx(hits / wrong.sum())
    assert found["f1"] == pytest.approx(2 * hits / (called.sum() + wrong.sum()))
    assert found["estimated_noise_rate"] == pytest.approx(called.mean())
    assert found["actual_noise_rate"] == pytest.approx(wrong.mean())
    assert summary["noise"]["actual_rate"] == pytest.approx(wrong.mean())
    predicted, actual = found["estimated_noise_rate"], found["actual_noise_rate"]
    assert found["precision"] * predicted == pytest.approx(found["recall"] * actual)
    # A suggestion is the most probable class, so it is at least as sure as the given label.
    assert (column["suggested_confidence"] >= column["confidence"]).all()
    assert (column["suggested_confidence"] == column["confidence"])[same].all()
    assert (column["weight"] >= 0).all()
    assert (column["weight"] < 1).all()


def test_samples_carry_the_labels_file(short_run: Run) -> None:
    folder = short_run()
    labels, table = (
        NoisyLabels.load(folder / "labels.npz"),
        pq.read_table(folder / "samples.parquet"),
    )
    assert (labels.given == table["given_label"].to_numpy()).all()
    assert labels.true is not None
    assert (labels.true == table["true_label"].to_numpy()).all()
    assert (labels.index == table["index"].to_numpy()).all()
    assert (labels.name, labels.nominal_rate, labels.seed) == ("sym50", 0.5, 1)


def test_saved_labels_train_identically(short_run: Run, rows: ReadRows) -> None:
    first = short_run("dataset.recipe.max_epochs=2")
    again = short_run("dataset.recipe.max_epochs=2", "noise=file", f"noise.path={first}")
    assert rows(again) == rows(first)
    stored = [NoisyLabels.load(folder / "labels.npz") for folder in (first, again)]
    assert (stored[0].given == stored[1].given).all()
    assert again.parent.parent.name == "file"


@pytest.mark.parametrize("method", ["ce", "nl", "ml", "pm", "ce_ar", "pm_ar", "pmnar_no_reg"])
def test_every_ablation_leaves_its_tables(short_run: Run, rows: ReadRows, method: str) -> None:
    folder = short_run(f"method={method}", "dataset.recipe.max_epochs=2")
    assert files_of(folder) == TABLES | {"checkpoints/last.ckpt"}
    reweights = method in ("ce_ar", "pm_ar", "pmnar_no_reg")
    table = pq.read_table(folder / "samples.parquet")
    assert ("weight" in table.column_names) == reweights
    assert ("mean_weight_first" in rows(folder)[-1]) == reweights
    outputs = {"first"} if method != "pmnar_no_reg" else {"first", "second", "ensemble"}
    assert set(summary_of(folder)["accuracy"]) == outputs
    assert summary_of(folder)["detection"]["recall"] >= 0


def test_untrusted_labels_leave_unknown_values_absent(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official_data.write_image_folder(tmp_path / "images", side=8)
    folder = run(
        "dataset=image_folder",
        f"dataset.source.data_dir={tmp_path / 'images'}",
        "dataset.source.image_size=8",
        "noise=clean",
        "network=small_cnn",
        "network.width=8",
        "data.batch_size=10",
        "trainer.max_epochs=2",
        "method.warmup_epochs=1",
        "figures=true",
    )
    assert "\nclasses  3: class0 (10), class1 (10), class2 (10)\n" in capsys.readouterr().out
    summary = summary_of(folder)
    assert set(summary["detection"]) == {"threshold", "estimated_noise_rate"}
    assert "actual_rate" not in summary["noise"]
    table = pq.read_table(folder / "samples.parquet")
    assert "true_label" not in table.column_names
    assert table["path"][0].as_py() == "train/class0/0000.png"
    assert "detection_precision" not in (folder / "metrics.csv").read_text()
    assert "figures/detection.png" not in files_of(folder)
    assert "report.html" in files_of(folder)


def test_same_seed_same_run_another_seed_another(short_run: Run, rows: ReadRows) -> None:
    two = "dataset.recipe.max_epochs=2"
    first, again, other = short_run(two), short_run(two), short_run(two, "seed=2")
    assert first != again
    assert rows(first) == rows(again)
    assert rows(first) != rows(other)
    read = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (first, again)]
    for name, value in read[0]["state_dict"].items():
        assert torch.equal(value, read[1]["state_dict"][name]), name


def test_noise_seed_of_its_own_keeps_the_labels(short_run: Run) -> None:
    two = ("dataset.recipe.max_epochs=1", "noise.seed=5")
    folders = [short_run(*two, f"seed={seed}") for seed in (1, 2)]
    first, second = (NoisyLabels.load(folder / "labels.npz") for folder in folders)
    assert (first.given == second.given).all()
    assert first.seed == second.seed == 5
