"""Two ranks on the CPU do what one process does."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from processes import Result

pytestmark = pytest.mark.ddp


Shell = Callable[..., Result]
# 201 samples in batches of 64: neither can be halved. 450 test samples in batches of 100.
UNEVEN = (
    "dataset.train_subset=201",
    "data.eval_batch_size=100",
    "dataset.recipe.max_epochs=2",
    "dataset.recipe.milestones=[1]",
    "~network.dropout",
    "~network.width",
    "network._target_=without_batch_norm.Plain",
)
NETWORK = """
from torch import nn

class Plain(nn.Sequential):
    def __init__(self, num_classes, in_channels):
        convolution = nn.Conv2d(in_channels, 8, 3, padding=1)
        super().__init__(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(512, num_classes))
"""


@pytest.fixture
def start(shell: Shell, short: tuple[str, ...], tmp_path: Path) -> Callable[..., Path]:
    """`start(name, *overrides)` trains below the folder `name`; gives the one run folder."""
    (tmp_path / "without_batch_norm.py").write_text(NETWORK)

    def call(name: str, *overrides: str) -> Path:
        root = f"runs_dir={tmp_path / name}"
        done = shell("-m", "src.train", *short, *UNEVEN, root, *overrides, modules=tmp_path)
        assert done.code == 0, done.err
        assert done.out.count("Test accuracy") == 1
        [config] = (tmp_path / name).rglob("config.yaml")
        return config.parent

    return call


def read_rows(folder: Path) -> list[dict[str, float]]:
    """The rows of `metrics.csv`."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def test_two_ranks_are_one_process(start: Callable[..., Path]) -> None:
    """Without BatchNorm, which would see half a batch (SyncBatchNorm needs a GPU).

    Batches and draws are the same; gradients alone are summed in another order. float32 rounds at
    6e-8, and eight steps add little to that: far below 1e-4, while batches of 63 instead of 64 move
    confidences by 1e-2.
    """
    one, two = start("one"), start("two", "trainer.devices=2")
    assert len(list(two.parent.iterdir())) == 1
    tables = [pq.read_table(folder / "samples.parquet") for folder in (one, two)]
    assert [len(table) for table in tables] == [201, 201]
    for name in ("index", "given_label", "true_label"):
        assert tables[0][name].equals(tables[1][name])
    for name in ("confidence", "weight", "suggested_confidence"):
        first, second = (table[name].to_numpy() for table in tables)
        assert np.abs(first - second).max() < 1e-4, name
    states = [torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (one, two)]
    stores = [state["state_dict"]["labels"] for state in states]
    assert torch.equal(*stores)
    assert states[0]["global_step"] == states[1]["global_step"] == 8
    assert_every_test_sample_counts_once(read_rows(one), read_rows(two))


def assert_every_test_sample_counts_once(
    one: list[dict[str, float]], two: list[dict[str, float]]
) -> None:
    """Shares of 450; a sample counted twice would make them shares of 452."""
    for alone, together in zip(one, two, strict=True):
        assert alone.keys() == together.keys()
        for output in ("first", "second", "ensemble"):
            right = together[f"accuracy_{output}"] * 450
            assert right == pytest.approx(round(right), abs=1e-4)
            assert right == pytest.approx(alone[f"accuracy_{output}"] * 450, abs=1.001)
        for name in ("loss", "complementary_size", "detection_recall", "learning_rate"):
            if name in alone:
                assert together[name] == pytest.approx(alone[name], rel=1e-4), name
