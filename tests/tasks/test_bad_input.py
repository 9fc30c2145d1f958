"""What cannot be used is refused in one line that says what to change, and leaves nothing."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import official_data
import pytest
import torch
from processes import Result
from torch import Tensor, nn

from pmnar.errors import NonFiniteLossError
from pmnar.noise import human
from pmnar.tasks.resume import resume
from pmnar.tasks.train import train

Run = Callable[..., Path]
Refuse = Callable[..., str]


class TwoTooMany(nn.Module):
    """A network that was written for two classes more."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.head = nn.Linear(64 * in_channels, num_classes + 2)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 1, 8, 8]` → `[B, K + 2]`."""
        logits: Tensor = self.head(x.flatten(1))
        return logits


REFUSED = {
    # noise
    "noise.rate=1.0": "noise.rate must be in [0, 1), got 1.0",
    "noise.rate=-0.1": "noise.rate must be in [0, 1), got -0.1",
    "noise.rate=1.3 noise=asym30": "noise.rate must be in [0, 1), got 1.3",
    "noise=human_worse": "noise=human_worse holds labels of cifar10, but the data set is digits",
    "noise=asym30 noise.map=cifar100": "noise.map=cifar100 is for 100 classes, but there are 10",
    "noise=asym30 noise.map=null": "digits has no asymmetric map of its own; use noise.map=next",
    "noise=matrix noise.path=none.npy": "noise.path: there is no file none.npy",
    "noise=file noise.path=none.npz": "noise.path: there is no file none.npz",
    # method, detection
    "method.beta=-0.5": "method.beta must be at least 0, got -0.5",
    "method.warmup_epochs=-1": "method.warmup_epochs must be at least 0, got -1",
    "method.warmup_epochs=2.5": "method.warmup_epochs must be a whole number, at least 0, got 2.5",
    "method.networks=3": "method.networks must be 1 or 2, got 3",
    "method.loss=hinge": "method.loss must be one of ce, nl, ml, pm, got hinge",
    "method.minimum=1.5": "method.minimum must be",
    "method.weight_balance=all": "method.weight_balance must be one of none, class, got all",
    "dataset.mean=[0.1,0.2] dataset.std=[0.1,0.2]": "dataset.mean must have 1 values",
    "dataset.views.cutout_fill=white": "dataset.views.cutout_fill must be black or mean, got white",
    "dataset.views.padding=8": "dataset.views.padding must be less than 8",
    "detection.threshold=abc": "detection.threshold must be in (0, 1), got abc",
    "checkpoint.every=abc": "checkpoint: ",
    "data.eval_batch_size=abc": "data.eval_batch_size must be a whole number, at least 1, got abc",
    "data.batch_size=20.5": "data.batch_size must be a whole number in [2, 200] (200 training",
    "dataset.views.padding=abc": "data or dataset.views: ",
    "detection.threshold=0": "detection.threshold must be in (0, 1), got 0",
    "detection.threshold=1.0": "detection.threshold must be in (0, 1), got 1.0",
    "detection.threshold=-1": "detection.threshold must be in (0, 1), got -1",
    # data
    "dataset.train_subset=1": "dataset.train_subset must be at least 2, got 1",
    "data.batch_size=201": "data.batch_size must be in [2, 200] (200 training samples",
    "dataset.recipe.batch_size=0": "data.batch_size must be in [2, 200] (200 training samples",
    "data.eval_batch_size=0": "data.eval_batch_size must be at least 1, got 0",
    "data.resident=disk": ("data.resident must be one of auto, device, host, stream, got disk"),
    "dataset=image_folder": "data_dir must be the folder of the images: data_dir=my_images",
    "data.num_workers=-1": "data.num_workers must be auto or at least 0, got -1",
    # computing
    "compute.compile=fast": (
        "compute.compile must be one of auto, off, default, reduce-overhead, max-autotune, got fast"
    ),
    "compute.threads=0": "compute.threads must be null or at least 1, got 0",
    "compute.threads=-1": "compute.threads must be null or at least 1, got -1",
    "compute.channels_last=maybe": "compute.channels_last must be auto, true or false, got maybe",
    "compute.fused_forward=true trainer.sync_batchnorm=true": (
        "compute.fused_forward=true splits BatchNorm per view, which trainer.sync_batchnorm=true "
        "undoes"
    ),
    "dataset.source.test_fraction=1": "dataset.source.test_fraction must be in [0, 1), got 1",
    "dataset.views.strong=mixup": (
        "dataset.views.strong must be one of autoaugment, randaugment, geometric, cutout, none, "
        "got 'mixup'"
    ),
    "dataset.views.padding=-1": "dataset.views.padding must be",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_value_is_refused(refuse: Refuse, overrides: str) -> None:
    assert REFUSED[overrides] in refuse(*overrides.split())


@pytest.mark.parametrize("override", ["trainer.max_epochs=0", "optimizer.lr=-1"])
def test_value_that_pytorch_would_refuse_later_is_refused_first(
    refuse: Refuse, override: str
) -> None:
    assert override.split(".")[0] in refuse(override)


@pytest.mark.parametrize("rows", ["sum", "shape", "negative"])
def test_matrix_that_is_not_row_stochastic(refuse: Refuse, tmp_path: Path, rows: str) -> None:
    matrix = np.eye(9 if rows == "shape" else 10)
    if rows == "sum":
        matrix[3, 4] = 0.25
    if rows == "negative":
        matrix[3, 3:5] = [1.5, -0.5]
    np.save(tmp_path / "matrix.npy", matrix)
    message = refuse("noise=matrix", f"noise.path={tmp_path / 'matrix.npy'}")
    reasons = {
        "sum": "rows that sum to 1, row 3 sums to 1.25",
        "shape": "shape (10, 10), got (9, 9)",
        "negative": "got -0.5 in row 3, column 4",
    }
    assert message.startswith("noise.path: ")
    assert reasons[rows] in message


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("dataset.train_subset=150", "the number of samples of"),
        ("dataset.subset_seed=1", "holds labels of other samples"),
        (
            "dataset.source.split_seed=1",
            "holds labels of other images than this run's: the training image with index",
        ),
    ],
)
def test_saved_labels_of_other_samples(
    refuse: Refuse,
    short_run: Run,
    runs: Path,
    tmp_path: Path,
    overrides: str,
    reason: str,
) -> None:
    short_run("trainer.max_epochs=1", "method=ce")
    [labels] = runs.rglob("labels.npz")
    labels.rename(tmp_path / "labels.npz")
    runs.rename(tmp_path / "earlier")
    message = refuse("noise=file", f"noise.path={tmp_path / 'labels.npz'}", overrides)
    assert message.startswith("noise.path: ")
    assert reason in message


@pytest.mark.parametrize("fault", ["length", "order"])
def test_human_labels_that_do_not_fit(
    refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    official_data.write_cifar10(tmp_path)
    official_data.trust_cifar(monkeypatch, tmp_path)
    labels = np.array(official_data.round_robin(50, 10))
    if fault == "order":
        monkeypatch.setattr(human, "OFFICIAL_SIZE", 50)
        labels = labels[::-1].copy()
    (tmp_path / "cifar-n").mkdir()
    content = {"clean_label": labels, "worse_label": labels}
    torch.save(content, tmp_path / "cifar-n" / "CIFAR-10_human.pt")
    small = ("dataset.train_subset=null", "data.batch_size=10")
    message = refuse("dataset=cifar10", "noise=human_worse", f"data_dir={tmp_path}", *small)
    assert message.startswith("noise.path: ")
    reasons = {"length": "must have 50000 labels, got 50", "order": "another data set or order"}
    assert reasons[fault] in message


def test_damaged_archive_names_both_sums(refuse: Refuse, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    message = refuse("dataset=cifar10", f"data_dir={tmp_path}")
    assert "cifar-10-python.tar.gz" in message
    assert len(re.findall(r"\b[0-9a-f]{32}\b", message)) == 2


def test_asymmetric_noise_without_a_map_says_what_to_use(refuse: Refuse, tmp_path: Path) -> None:
    official_data.write_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    official_data.write_image_folder(tmp_path / "images")
    small = ("dataset.train_subset=null", "data.batch_size=10", "noise=asym30")
    tiny = refuse("dataset=tiny_imagenet", f"data_dir={tmp_path}", *small)
    source = f"dataset.source.data_dir={tmp_path / 'images'}"
    folder = refuse("dataset=image_folder", source, *small)
    for message in (tiny, folder):
        assert message.startswith("noise.map: ")
        assert "noise.map=next" in message
        assert "noise=pair45" in message


def test_network_whose_output_differs_from_the_classes(refuse: Refuse) -> None:
    target = f"{__name__}.TwoTooMany"
    message = refuse("~network.width", "~network.dropout", f"network._target_={target}")
    assert "network: its output must be [batch, 10] for 10 classes, got [2, 12]" in message


def test_network_that_cannot_take_the_images(refuse: Refuse) -> None:
    target = ("~network.dropout", "~network.width", "network._target_=torch.nn.Identity")
    assert refuse(*target).startswith("network: ")


def test_network_that_does_not_exist(refuse: Refuse) -> None:
    message = refuse("network._target_=pmnar.networks.Nothing")
    assert message.startswith("network: ")
    assert "pmnar.networks.Nothing" in message


def test_warmup_longer_than_training_is_warned_of(short_run: Run) -> None:
    with pytest.warns(UserWarning, match=r"method.warmup_epochs=5 is not below trainer.max_epochs"):
        folder = short_run("method.warmup_epochs=5", "trainer.max_epochs=1")
    assert (folder / "summary.json").is_file()


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    short_run: Run,
) -> None:
    folder = short_run("trainer.max_epochs=1")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    metrics = (folder / "metrics.csv").read_bytes()
    run = resume(folder, ["trainer.max_epochs=2"])
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["networks.second.head.bias"][0] = torch.nan
    torch.save(content, checkpoint)
    poked = checkpoint.read_bytes()
    with pytest.raises(NonFiniteLossError, match=r"not finite at epoch 2, step 1; lower"):
        train(run.config, run.folder, run.checkpoint)
    assert checkpoint.read_bytes() == poked
    assert (folder / "metrics.csv").read_bytes() == metrics


def test_loss_that_is_not_finite_is_told_in_one_line(
    command: Callable[..., Result], short: tuple[str, ...], runs: Path
) -> None:
    found = command("train", *short, f"runs_dir={runs}", "optimizer.lr=1e30")
    assert found.code == 2
    assert re.fullmatch(
        r"error: the loss is not finite at epoch 1, step [2-4]; lower optimizer.lr, .*\n", found.err
    )
    assert not list(runs.rglob("*.ckpt"))
