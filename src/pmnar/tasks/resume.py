"""Going on from where a run stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from pmnar.errors import InputError
from pmnar.runtime.checkpoint import read_checkpoint
from pmnar.runtime.run_folder import CHECKPOINT

FIXED = ("dataset", "noise", "method.name", "method.loss", "method.networks", "network", "seed")
"""Keys under which another value would make the saved state meaningless."""
MOVABLE = ("dataset.source.data_dir", "dataset.source.imagenet_dir", "noise.path")


@dataclass(frozen=True)
class Resumed:
    """A run to go on with: its configuration, its folder, and the checkpoint to load."""

    config: DictConfig
    folder: Path
    checkpoint: Path
    changes: tuple[str, ...]


def resume(place: Path, overrides: Sequence[str]) -> Resumed:
    """The run at `place`, a run folder or a checkpoint, with `overrides` on top of its own config.

    Raises:
        InputError: there is no whole checkpoint, or an override would contradict its state.
    """
    folder, checkpoint = locate(place)
    saved = read_checkpoint(checkpoint)["pmnar"]["config"]
    config = OmegaConf.create(saved)
    OmegaConf.set_struct(config, True)
    changes = [change for text in overrides for change in _apply(config, text, folder)]
    config.resume = str(folder)
    return Resumed(config, folder, checkpoint, tuple(changes))


def locate(place: Path) -> tuple[Path, Path]:
    """The run folder and the checkpoint that `place` means."""
    if place.is_dir():
        return place.absolute(), place.absolute() / CHECKPOINT
    if not place.is_file():
        raise InputError(
            f"resume must be a run folder or a checkpoint; there is nothing at {place}"
        )
    inside = place.parent.name == CHECKPOINT.parent.name
    return (place.parent.parent if inside else place.parent).absolute(), place.absolute()


def _apply(config: DictConfig, text: str, folder: Path) -> list[str]:
    override = OverridesParser.create().parse_override(text)
    key, value = override.key_or_group, override.value()
    if key in ("resume", "compare") or key.startswith("hydra"):
        return []
    old = OmegaConf.select(config, key)
    if OmegaConf.is_config(old):
        if value == old.get("name"):
            return []
        kind = old.get("name", "its own")
        raise InputError(
            f"{key}={value} cannot be changed in a resumed run; {folder} was made with {kind}"
        )
    if old == value:
        return []
    fixed = any(key == f or key.startswith(f"{f}.") for f in FIXED) and key not in MOVABLE
    if fixed:
        raise InputError(
            f"{key}={value} cannot be changed in a resumed run; {folder} was made with {old}"
        )
    OmegaConf.update(config, key, value)
    return [f"{key}: {old} → {value}"]


def check_labels(checkpoint: dict[str, Any], labels: Any) -> None:
    """Raise `InputError` unless a checkpoint was trained on exactly these given labels `[N]`."""
    trained_on = checkpoint["state_dict"]["labels"]
    if trained_on.shape != labels.shape or not bool((trained_on == labels).all()):
        raise InputError(
            "the checkpoint was trained on other labels than the configuration gives now "
            "(dataset, noise, or the files below data_dir have changed)"
        )
