"""Where a run's files and its data are: its folder, configuration, checkpoint, summary."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pmnar.errors import InputError
from pmnar.runtime.run_folder import CHECKPOINT

SUMMARY = Path("summary.json")
LABELS = Path("labels.npz")
MOVABLE = ("dataset.source.data_dir", "dataset.source.imagenet_dir", "noise.path")


def read_config(path: Path) -> DictConfig:
    """A run's `config.yaml`.

    Raises:
        InputError: it cannot be read as one.
    """
    try:
        config = OmegaConf.load(path)
    except Exception as error:  # the YAML reader has errors of its own, without types
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(config, DictConfig) or "trainer" not in config:
        raise InputError(f"{path} is not a run's configuration")
    return config


def locate(place: Path, key: str = "resume") -> tuple[Path, Path]:
    """The run folder and the checkpoint that `place`, the value of `key`, means."""
    if place.is_dir() and place.name == CHECKPOINT.parent.name:
        place = place.parent
    if place.is_dir():
        return place.absolute(), place.absolute() / CHECKPOINT
    if not place.is_file():
        raise InputError(f"{key} must be a run folder or a checkpoint; there is nothing at {place}")
    inside = place.parent.name == CHECKPOINT.parent.name
    return (place.parent.parent if inside else place.parent).absolute(), place.absolute()


def move_data(config: DictConfig, old: str, new: str) -> None:
    """Point every path of the data set and the noise below `old` to the same place below `new`."""
    for node in (config.dataset.source, config.noise):
        for key, value in node.items():
            if isinstance(value, str) and Path(value).is_relative_to(old):
                node[key] = str(Path(new) / Path(value).relative_to(old))
    config.data_dir = new


def saved_config(checkpoint: dict[str, Any]) -> DictConfig:
    """The configuration that the checkpoint was made with."""
    if "config" not in checkpoint["pmnar"]:
        raise InputError("the checkpoint holds no configuration: it was not made by a task")
    config: DictConfig = OmegaConf.create(checkpoint["pmnar"]["config"])
    return config


def read_summary(run: Path) -> dict[str, Any]:
    """The `summary.json` of a finished run."""
    summary: dict[str, Any] = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    return summary
