"""Where a run's files and its data are: its folder, configuration, checkpoint, summary."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pmnar.errors import InputError
from pmnar.runtime.checkpoint import read_checkpoint
from pmnar.runtime.run_folder import CHECKPOINT, CONFIG
from pmnar.runtime.typed import assignment, command
from pmnar.tasks.command import plain
from pmnar.tasks.moved import under_new_keys

SUMMARY = Path("summary.json")
LABELS = Path("labels.npz")
MOVABLE = ("dataset.source.data_dir", "dataset.source.imagenet_dir", "noise.path")
MOVING = {key.rpartition(".")[2] for key in MOVABLE}
"""Their names within a data set's source, or a noise."""
PATHS = ("run", "resume", "runs_dir", "data_dir", "images", "out", *MOVABLE)
"""Keys whose value is a path: text, whatever it looks like."""


def check_paths(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raise `InputError` where Hydra has read a path as a number, a list or a dictionary.

    Args:
        cfg: the configuration.
        overrides: as they were typed.
    """
    typed_as = dict(text.partition("=")[::2] for text in overrides)
    for key in PATHS:
        value = OmegaConf.select(cfg, key)
        if value == "":
            raise InputError(f"{key} must be a path, got nothing")
        if value is not None and not isinstance(value, str):
            text = typed_as.get(key, str(value))
            typed = assignment(key, text)
            raise InputError(f"{key} must be a path, got {text}; as text it is typed {typed}")


def read_config(path: Path) -> DictConfig:
    """A run's `config.yaml`, under the keys of now.

    Raises:
        InputError: it cannot be read as one.
    """
    try:
        config = OmegaConf.create(under_new_keys(plain(OmegaConf.load(path))))
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


def read_run_checkpoint(path: Path, task: str, folder: Path) -> dict[str, Any]:
    """The content of a run's checkpoint.

    Args:
        path: the checkpoint.
        task: train, to go on from it, or evaluate.
        folder: the run's.

    Raises:
        InputError: it cannot be read; names the newest beside it that can, as a command.
    """
    try:
        return read_checkpoint(path)
    except InputError as error:
        whole = newest_whole(path)
        if whole is None:
            raise
        place = {"resume": whole} if task == "train" else {"run": folder, "checkpoint": whole}
        raise InputError(f"{error}; {whole.name} is whole: {command(task, **place)}") from None


def newest_run(root: Path) -> Path | None:
    """The run below a `runs_dir` that was begun last, of those that have a checkpoint."""
    found = (path.parent.parent for path in root.glob(f"*/*/*/*/{CHECKPOINT}"))
    return max(found, key=lambda run: run.name, default=None)


def newest_whole(path: Path) -> Path | None:
    """The newest other checkpoint beside `path` that can be read, if any."""
    for other in sorted(path.parent.glob("epoch-*.ckpt"), key=_by_number, reverse=True):
        with suppress(InputError):
            if other != path:
                read_checkpoint(other)
                return other
    return None


def _by_number(path: Path) -> tuple[int, str]:
    return len(path.name), path.name


def move_data(config: DictConfig, old: str | None, new: str) -> None:
    """Point the data set and what the noise reads, below `old`, to the same places below `new`.

    A data set that is not below `old`, if there is one, or of which nothing is at that place, is
    what `new` means.
    """
    for node in (config.dataset.source, config.noise):
        for key in MOVING & node.keys():
            value = node[key]
            if old and isinstance(value, str) and Path(value).is_relative_to(old):
                node[key] = str(Path(new) / Path(value).relative_to(old))
    source, new_place = config.dataset.source, Path(new).expanduser()
    if "data_dir" in source:
        place = Path(source.data_dir).expanduser()
        is_below = place.is_relative_to(new_place)
        if not is_below or (new_place.is_dir() and not place.is_dir()):
            source.data_dir = new
    config.data_dir = new


def from_its_start(config: DictConfig, folder: Path) -> None:
    """Let relative places of a run's data be those below the folder that it was started from.

    Where nothing is at them from here, and something from there. A `runs_dir` that is relative
    tells where that is.
    """
    runs_dir, above = Path(config.get("runs_dir", ".")), folder.absolute().parents
    depth = 3 + len(runs_dir.parts)  # a run's folder is three below its own in runs_dir
    if runs_dir.is_absolute() or len(above) <= depth or above[depth] / runs_dir != above[3]:
        return
    start = above[depth]
    for key in ("data_dir", *MOVABLE, "method.matrix"):
        value = OmegaConf.select(config, key)
        if isinstance(value, str) and not Path(value).expanduser().exists():
            there = start / Path(value).expanduser()
            if there.exists():
                OmegaConf.update(config, key, str(there))


@contextmanager
def telling_from_where(config: DictConfig) -> Iterator[None]:
    """Adds to an `InputError` on a relative place, where nothing is, from where it was looked."""
    try:
        yield
    except InputError as error:
        places = [OmegaConf.select(config, key) for key in MOVABLE]
        for place in (Path(text).expanduser() for text in places if isinstance(text, str)):
            if str(place) in str(error) and not place.is_absolute() and not place.exists():
                raise InputError(f"{error} (seen from {Path.cwd()})") from error
        raise


def follow_moves(config: DictConfig, folder: Path) -> None:
    """Let a checkpoint's `config` look for data where the run's own, changed since, does."""
    if not (folder / CONFIG).is_file():
        return
    now = read_config(folder / CONFIG)
    for key in ("data_dir", *MOVABLE):
        value = OmegaConf.select(now, key)
        if value is not None and OmegaConf.select(config, key) is not None:
            OmegaConf.update(config, key, value)


def saved_config(checkpoint: dict[str, Any]) -> DictConfig:
    """The configuration that the checkpoint was made with, under the keys of now."""
    if "config" not in checkpoint["pmnar"]:
        raise InputError("the checkpoint holds no configuration: it was not made by a task")
    written = OmegaConf.create(checkpoint["pmnar"]["config"])
    config: DictConfig = OmegaConf.create(under_new_keys(plain(written)))
    return config


def read_summary(run: Path) -> dict[str, Any]:
    """The `summary.json` of a finished run."""
    summary: dict[str, Any] = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    return summary
