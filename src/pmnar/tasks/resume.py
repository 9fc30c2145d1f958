"""Going on from where a run stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pmnar.callbacks.metrics_table import read_rows
from pmnar.errors import InputError
from pmnar.noise.fingerprint import other_decoder
from pmnar.runtime.checkpoint import (
    check_images,
    check_labels,
    finished_epochs,
    warn_of_test_images,
)
from pmnar.runtime.run_folder import CONFIG
from pmnar.tasks.command import OF_THE_COMMAND
from pmnar.tasks.devices import BEFORE
from pmnar.tasks.find import MANNER
from pmnar.tasks.mistakes import dotted_keys, nearest
from pmnar.tasks.places import (
    MOVABLE,
    follow_moves,
    from_its_start,
    locate,
    move_data,
    newest_whole,
    read_config,
    read_run_checkpoint,
    saved_config,
)

FIXED = (
    *("dataset", "noise", "network", "seed", "optimizer", "scheduler"),
    *("recipe", "minutes", "chosen"),
    *("method.name", "method.loss", "method.networks"),
    *("data.noisy_validation", "data.noisy_validation_seed"),
)
"""Keys under which another value would make the saved state meaningless, or be overruled by it."""
MISSING = object()


@dataclass(frozen=True)
class Resumed:
    """A run to go on with: its configuration, its folder, and the checkpoint to load.

    Without a checkpoint its first epoch had not been finished: it begins again where it is.
    """

    config: DictConfig
    folder: Path
    checkpoint: Path | None
    changes: tuple[str, ...]
    epochs: int


def resume(place: Path, overrides: Sequence[str]) -> Resumed:
    """The run at `place`, a run folder or a checkpoint, with `overrides` on top of its own config.

    Raises:
        InputError: there is no whole checkpoint, or an override would contradict its state.
    """
    folder, path = locate(place)
    written = folder / CONFIG
    begins_again = written.is_file() and not path.is_file() and newest_whole(path) is None
    checkpoint = None if begins_again else path
    content = None if checkpoint is None else read_run_checkpoint(checkpoint, "train", folder)
    # A run that was changed and then stopped before its next checkpoint has the change in its
    # folder alone. One checkpoint of several is asked for with its own configuration.
    if content is None or (place.is_dir() and written.is_file()):
        config = read_config(written)
    else:
        config = saved_config(content)
        follow_moves(config, folder)
    from_its_start(config, folder)
    OmegaConf.set_struct(config, True)
    changes = [change for text in overrides for change in _apply(config, text, folder)]
    done = 0 if content is None else finished_epochs(content)
    check_enough_epochs(config, done)
    check_matters(changes, done == config.trainer.max_epochs)
    if content is None:
        check_nothing_is_lost(config, folder)
    return Resumed(config, folder, checkpoint, tuple(changes), done)


def check_matters(changes: Sequence[str], is_finished: bool) -> None:
    """Refuse to change a finished run, which would call its results another configuration's."""
    for change in changes:
        key = change.split(":")[0]
        harmless = (*MANNER, *MOVABLE, "data_dir", "compute.threads", "trainer.accelerator")
        if is_finished and not any(key == h or key.startswith(f"{h}.") for h in harmless):
            raise InputError(
                f"{change} would change nothing: the run is finished; trainer.max_epochs trains it "
                "for longer, and a new run trains it otherwise"
            )


def check_nothing_is_lost(config: DictConfig, folder: Path) -> None:
    """Refuse to begin again where more was done than what no checkpoint was due for."""
    rows = len(read_rows(folder / "metrics.csv"))
    if rows > config.get("checkpoint", {}).get("every", 1):
        raise InputError(
            f"{folder} has {rows} epochs in its metrics.csv and no checkpoint to go on from"
        )


def check_enough_epochs(config: DictConfig, done: int) -> None:
    """Refuse fewer epochs than the checkpoint has behind it."""
    epochs = config.trainer.max_epochs
    if not isinstance(epochs, int) or epochs < done:
        raise InputError(
            f"trainer.max_epochs must be a whole number of at least {done}, the epochs that the "
            f"checkpoint has behind it, got {epochs}"
        )


def _apply(config: DictConfig, text: str, folder: Path) -> list[str]:
    override = OverridesParser.create().parse_override(text)
    if override.is_sweep_override():
        raise InputError(f"{text}: several values need -m, a sweep over runs to resume")
    key, value = override.key_or_group, override.value()
    if key.split(".")[0] in OF_THE_COMMAND:
        return []
    if override.type != OverrideType.CHANGE:
        raise InputError(f"{text} cannot be used in a resumed run: write {key}=value")
    before = OmegaConf.select(OmegaConf.create(BEFORE), key, default=MISSING)
    old = OmegaConf.select(config, key, default=before)
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
        made = "without it" if old is MISSING else f"with {old}"
        raise InputError(
            f"{key}={value} cannot be changed in a resumed run; {folder} was made {made}"
        )
    if old is MISSING:
        known = nearest(key, dotted_keys(OmegaConf.to_container(config)))
        raise InputError(f"{key} is not in the configuration of {folder}; {known}")
    if key == "data_dir":
        move_data(config, old, str(value))
    check_epochs(config, key, value)
    OmegaConf.update(config, key, value, force_add=True)
    return [f"{key}: {old} → {value}"]


def check_epochs(config: DictConfig, key: str, value: Any) -> None:
    """Refuse more epochs than a cosine schedule was made for: its rate would climb again.

    It may where the recipe has it so, of more epochs than the cosine: its stages begin anew.
    """
    horizon = config.scheduler.get("T_max")
    if horizon is not None:
        recipe = OmegaConf.select(config, "dataset.recipe.max_epochs", default=horizon)
        horizon = max(horizon, recipe)
    if key != "trainer.max_epochs" or not isinstance(value, int):
        return
    if horizon is not None and value > horizon:
        raise InputError(
            f"trainer.max_epochs must be at most {horizon} in this resumed run, got {value}: its "
            "learning rate has come down by then, and would climb again; to train longer, begin a "
            f"new run with dataset.recipe.max_epochs={value}"
        )


def check_checkpoint(checkpoint: dict[str, Any], run: dict[str, Any], labels: Tensor) -> None:
    """Raise `InputError` unless a checkpoint is of this run's data set, method, images and labels.

    Args:
        checkpoint: its content.
        run: what the method would write as its own `pmnar` entry.
        labels: the given labels int64 `[N]`.
    """
    for key in ("dataset", "method", "class_names"):
        found, wanted = checkpoint["pmnar"][key], run[key]
        if found != wanted:
            raise InputError(f"the checkpoint is of {key} {found}, this run of {wanted}")
    decoder = other_decoder(checkpoint["pmnar"].get("decoder"), run.get("decoder"))
    check_images(checkpoint, run.get("images"), decoder)
    warn_of_test_images(checkpoint, run.get("test_images", {}))
    check_labels(checkpoint, labels)
