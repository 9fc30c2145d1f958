"""The recipe of every data set runs on tiny data in the official file format."""

from collections.abc import Callable
from pathlib import Path

import official_data
import pytest
import torch
from omegaconf import DictConfig

from pmnar.noise import human
from pmnar.tasks import build
from pmnar.tasks.train import train

Composed = Callable[..., DictConfig]
Quiet = tuple[str, ...]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Writes a data set's tiny files; gives the overrides that point to them."""
    folder = tmp_path / "data"
    makers: dict[str, Callable[[], None]] = {
        "digits": lambda: None,
        "mnist": lambda: official_data.write_mnist(folder),
        "fashion_mnist": lambda: official_data.write_fashion_mnist(folder),
        "cifar10": lambda: _cifar(monkeypatch, folder, 10),
        "cifar100": lambda: _cifar(monkeypatch, folder, 100),
        "tiny_imagenet": lambda: official_data.write_tiny_imagenet(folder / "tiny-imagenet-200"),
        "mini_webvision": lambda: official_data.write_mini_webvision(folder / "webvision"),
        "image_folder": lambda: official_data.write_image_folder(folder / "images"),
    }
    more = {
        "image_folder": [f"dataset.source.data_dir={folder / 'images'}", "noise=clean"],
        "mini_webvision": ["noise=clean"],
    }

    def make(name: str) -> list[str]:
        makers[name]()
        return [f"data_dir={folder}", *more.get(name, [])]

    return make


def _cifar(monkeypatch: pytest.MonkeyPatch, folder: Path, classes: int) -> None:
    if classes == 10:
        official_data.write_cifar10(folder)
    else:
        official_data.write_cifar100(folder)
    official_data.trust_cifar(monkeypatch, folder, f"CIFAR{classes}")


SMALL = ("network.width=8", "data.batch_size=16", "data.eval_batch_size=32")


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        "mnist",
        "fashion_mnist",
        "cifar10",
        "cifar100",
        "tiny_imagenet",
        "mini_webvision",
        "image_folder",
    ],
)
def test_recipe_runs(
    composed: Composed,
    quiet: Quiet,
    data: Callable[[str], list[str]],
    runs: Path,
    name: str,
) -> None:
    overrides = [f"dataset={name}", *data(name), *SMALL, f"runs_dir={runs}"]
    cfg = composed(*quiet, *overrides, "trainer.fast_dev_run=true")
    loaded = build.build_datamodule(cfg)
    loaded.prepare_data()
    loaded.setup()
    assert loaded.num_classes == cfg.dataset.num_classes or name == "image_folder"
    shape = loaded.splits["train"].images.shape[1:]
    assert list(shape) == list(cfg.dataset.image_shape)
    train(cfg)


@pytest.mark.parametrize(
    ("dataset", "noise", "key", "classes"),
    [("cifar10", "human_worse", "worse_label", 10), ("cifar100", "human_fine", "noisy_label", 100)],
)
def test_human_labels_reach_training(
    composed: Composed,
    quiet: Quiet,
    data: Callable[[str], list[str]],
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    dataset: str,
    noise: str,
    key: str,
    classes: int,
) -> None:
    size = 50 if classes == 10 else 200
    overrides = [f"dataset={dataset}", f"noise={noise}", *data(dataset), *SMALL]
    cfg = composed(*quiet, *overrides, f"runs_dir={runs}", "trainer.max_epochs=1")
    true = torch.tensor(official_data.round_robin(size, classes))
    given = (true + (torch.arange(size) % 5 < 2)) % classes
    file = Path(cfg.noise.path)
    file.parent.mkdir(parents=True)
    torch.save({"clean_label": true.numpy(), key: given.numpy()}, file)
    monkeypatch.setattr(human, "OFFICIAL_SIZE", size)
    summary = train(cfg)
    assert summary["noise"] == {"name": noise, "actual_rate": 0.4, "seed": 1}
    assert Path(summary["run"]).parent == runs.absolute() / dataset / noise / "pmnar"


def test_second_test_split_is_reported_beside_the_first(
    composed: Composed, quiet: Quiet, data: Callable[[str], list[str]], runs: Path, tmp_path: Path
) -> None:
    overrides = [*data("mini_webvision"), "dataset=mini_webvision", *SMALL, f"runs_dir={runs}"]
    official_data.write_imagenet_val(tmp_path / "imagenet")
    overrides.append(f"dataset.source.imagenet_dir={tmp_path / 'imagenet'}")
    overrides += ["dataset.source.image_size=16", "trainer.max_epochs=1", "method=ce"]
    summary = train(composed(*quiet, *overrides))
    assert set(summary["accuracy"]) == {"first"}
    [second] = [key for key in summary if key.startswith("accuracy_")]
    assert set(summary[second]["first"]) == {"best", "last", "mean_last_10"}
