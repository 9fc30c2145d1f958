"""A run's folder with tables, made without training."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pmnar.detection import detection_metrics, samples_table, write_samples

NAMES = ["<b>cat</b>", "$\\frac{dog}$ & co", "ship, boat"]
EPOCHS = 6
MakeRun = Callable[..., Path]


def _metrics(path: Path, full: bool) -> None:
    rows: list[dict[str, float | str]] = [
        {"epoch": k + 1, "loss": 2.0 / (k + 1), "accuracy_first": 0.5 + 0.05 * k, "loss_second": ""}
        for k in range(EPOCHS)
    ]
    for k, row in enumerate(rows if full else []):
        row |= {"accuracy_second": 0.5, "accuracy_ensemble": 0.6, "detection_f1": 0.1 * k}
        row |= {f"weight_class_{label}": 0.5 - 0.2 * label for label in range(3)}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _samples(path: Path, full: bool, size: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    true = torch.randint(3, (size,), generator=generator)
    given = (true + (torch.arange(size) % 2)) % 3
    confidence = torch.rand(size, generator=generator) * 0.45 + 0.5 * (given == true)
    table = samples_table(
        given=given,
        confidence=confidence,
        suggested=true,
        suggested_confidence=1 - confidence / 2,
        class_names=NAMES,
        true=true if full else None,
        weight=confidence if full else None,
        paths=[f"<i>/{k}.png" for k in range(size)] if full else None,
    )
    write_samples(path, table)
    return detection_metrics(confidence, given, true if full else None)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a folder: a full one, or one of a method and data set that know little."""

    def make(full: bool = True, size: int = 200) -> Path:
        _metrics(tmp_path / "metrics.csv", full)
        detection = _samples(tmp_path / "samples.parquet", full, size)
        accuracy = {"best": 0.75, "last": 0.7412, "mean_last_10": 0.7}
        summary: dict[str, object] = {
            "dataset": "toy",
            "method": "pmnar<script>",
            "noise": {"name": "sym50", "nominal_rate": 0.5, "actual_rate": 0.497, "seed": 3},
            "accuracy": {"first": accuracy},
            "detection": detection,
            "class_names": NAMES,
            "events": {"warm-up ends": 2},
        }
        if full:
            summary |= {"versions": {"torch": "2.15.0"}, "epochs": EPOCHS, "run": "runs/my toy"}
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        return tmp_path

    return make
