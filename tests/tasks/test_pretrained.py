"""A run whose network begins with weights from a file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import DictConfig
from processes import QUIET

from pmnar.networks import timm_network
from pmnar.tasks.resume import resume
from pmnar.tasks.train import train

pytest.importorskip("timm")
NAME = "resnet10t"


def test_it_goes_on_without_the_file_and_its_images_are_as_the_network_knows_them(
    composed: Callable[..., DictConfig], runs: Path, tmp_path: Path
) -> None:
    """Frozen stages end as the file has them."""
    file = tmp_path / "w.pt"
    published = timm_network(5, 1, NAME).state_dict()
    torch.save(published, file)
    few = ("dataset.train_subset=40", "data.batch_size=20", "method=ce", f"runs_dir={runs}")
    network = ("network=timm", f"network.name={NAME}", f"network.weights={file}")
    cfg = composed(*QUIET, *few, *network, "network.freeze=2", "trainer.max_epochs=1")
    run = Path(train(cfg, typed={"dataset.std"})["run"])
    kept = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert kept["dataset"]["mean"] == [pytest.approx((0.485 + 0.456 + 0.406) / 3)]
    assert kept["dataset"]["std"] == [0.3760], "typed"
    file.unlink()
    more = resume(run, ["trainer.max_epochs=2"])
    assert train(more.config, more.folder, more.checkpoint)["epochs"] == 2
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    prefix, moved = "networks.first.", set()
    for name, value in content["state_dict"].items():
        own = name.removeprefix(prefix)
        if own != name and own in published and not own.startswith("fc."):
            moved |= set() if torch.equal(value, published[own]) else {own.split(".")[0]}
    assert moved == {"layer2", "layer3", "layer4"}
