"""What a run is of: a checkpoint is loaded into no other."""

from typing import Any

from omegaconf import DictConfig

from pmnar.data import NoisyDataModule
from pmnar.names import HELD_OUT, TRAIN
from pmnar.tasks.command import plain


def identity(cfg: DictConfig, data: NoisyDataModule) -> dict[str, Any]:
    """What a checkpoint must agree in with the run that loads it, and its configuration."""
    return {
        "dataset": cfg.dataset.name,
        "method": cfg.method.name,
        "class_names": list(data.class_names),
        "images": data.labels.digest,
        "decoder": data.labels.decoder,
        "test_images": test_digests(data),
        "input": input_of(data),
        "config": plain(cfg),
    }


def input_of(data: NoisyDataModule) -> dict[str, Any]:
    """What the networks are given: the shape of an image, and how it is normalised."""
    shape, normalize = data.splits[TRAIN].images.shape[1:], data.views.normalize
    return {"shape": list(shape), "mean": normalize.mean, "std": normalize.std}


def test_digests(data: NoisyDataModule) -> dict[str, str]:
    """What tells each test split from others; what is held out of training counts to that."""
    return {
        name: data.splits[name].fingerprint.digest for name in data.test_names if name != HELD_OUT
    }
