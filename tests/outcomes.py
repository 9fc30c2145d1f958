"""Comparing what two runs left behind, to the bit."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from pmnar.noise import NoisyLabels

STATE = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "loops")
Rows = list[dict[str, str]]


def content(folder: Path) -> dict[str, Any]:
    """The last checkpoint."""
    read: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return read


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Places at which two nested structures are not equal to the bit."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [place for key in a for place in differences(a[key], b[key], f"{at}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [place for i, (x, y) in pairs for place in differences(x, y, f"{at}.{i}")]
    tensors = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
    same = torch.equal(a, b) if tensors else a == b
    return [] if same else [at]


def rows_of(folder: Path) -> Rows:
    """The rows of `metrics.csv` as text, apart from what a clock wrote."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if not key.startswith("seconds")}
            for row in csv.DictReader(file)
        ]


def summary_of(folder: Path) -> dict[str, Any]:
    """`summary.json`, apart from the clock's figures and the folder's name."""
    read: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {key: value for key, value in read.items() if key not in ("seconds", "run")}


def unequal(one: Path, other: Path) -> list[str]:
    """Where two finished runs differ.

    Networks, per-sample state, optimiser, schedule, progress; the rows of `metrics.csv`,
    `classes.csv`, the summary, the samples, the labels.
    """
    first, second = content(one), content(other)
    found = differences({k: first[k] for k in STATE}, {k: second[k] for k in STATE}, "checkpoint")
    found += differences(rows_of(one), rows_of(other), "metrics")
    found += differences(summary_of(one), summary_of(other), "summary")
    by_class = [(folder / "classes.csv").read_bytes() for folder in (one, other)]
    found += [] if by_class[0] == by_class[1] else ["classes"]
    tables = [pq.read_table(folder / "samples.parquet") for folder in (one, other)]
    found += [] if tables[0].equals(tables[1]) else ["samples"]
    labels = [NoisyLabels.load(folder / "labels.npz") for folder in (one, other)]
    return found + ([] if (labels[0].given == labels[1].given).all() else ["labels"])
