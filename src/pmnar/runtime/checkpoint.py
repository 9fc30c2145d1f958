"""Reading and writing checkpoints."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from pmnar.errors import InputError, WriteError
from pmnar.files import replacing
from pmnar.runtime.run_folder import CHECKPOINT


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and that execute nothing when they are read."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None
    ) -> None:
        """Write beside `path`, sync, and rename.

        Raises:
            WriteError: the disk is full, or the folder cannot be written to.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror}") from error
        with replacing(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                raise _disk_error(error) from error

    def load_checkpoint(
        self, path: _PATH, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read tensors and plain values only, on the CPU unless told otherwise."""
        return _load(Path(path), map_location or "cpu")


def _disk_error(error: BaseException) -> BaseException:
    """The operating system's reason that torch's own error hides, or the error itself."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return cause or error


class RunCheckpoint(Checkpoint):
    """Saves the run at the end of epochs: `last.ckpt`, and with it the newest `keep`.

    With `keep` over 1 each is `epoch-0012.ckpt` as well, of which `last.ckpt` is the newest under
    another name. Lightning calls such callbacks after the module's own end of epoch, in their
    order: put it last, so that what the others write is never behind the checkpoint.

    Args:
        folder: the run folder.
        every: epochs from one checkpoint to the next, at least 1; the last epoch is always saved.
        keep: how many to keep, at least 1.
    """

    def __init__(self, folder: Path, every: int = 1, keep: int = 1) -> None:
        for key, value in (("every", every), ("keep", keep)):
            if value < 1:
                raise InputError(f"checkpoint.{key} must be at least 1, got {value}")
        self.last, self.every, self.keep = folder / CHECKPOINT, every, keep

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, once every `every` epochs and after the last."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every and epoch != trainer.max_epochs:
            return
        numbered = self.last.with_name(f"epoch-{epoch:04d}.ckpt")
        trainer.save_checkpoint(self.last if self.keep == 1 else numbered, weights_only=False)
        if not trainer.is_global_zero:
            return
        if self.keep > 1:
            make_last(numbered, self.last)
        self._remove_old(numbered)

    def _remove_old(self, newest: Path) -> None:
        """Keep the newest and those just before it; later ones are of a past that was left."""
        saved = sorted(newest.parent.glob("epoch-*.ckpt"), key=_epoch_of)
        before = [path for path in saved if _epoch_of(path) <= _epoch_of(newest)]
        kept = before[-self.keep :] if self.keep > 1 else []
        for path in set(saved) - set(kept):
            path.unlink()


def make_last(path: Path, last: Path) -> None:
    """Let `last` be the checkpoint at `path`, which keeps its own name too."""
    if path.resolve() != last.resolve():
        last.parent.mkdir(exist_ok=True)
        with replacing(last) as temporary:
            _link(path, temporary)


def _epoch_of(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))


def _link(path: Path, other: Path) -> None:
    """Give a file a second name; copy it where the file system knows no such thing."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, tensors and plain values only, on the CPU.

    Raises:
        InputError: there is no such file, or it is not a checkpoint that can be read safely.
    """
    content = _load(path, "cpu")
    for key in ("state_dict", "pmnar"):
        if not isinstance(content, dict) or key not in content:
            raise InputError(f"{path} is not a checkpoint of this library: it has no {key}")
    return content


def finished_epochs(checkpoint: dict[str, Any]) -> int:
    """How many epochs a checkpoint has behind it."""
    return int(checkpoint["epoch"]) + 1


def _load(path: Path, map_location: Any) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}")
    try:
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch.load raises nearly anything where a file is none of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read as a checkpoint: {reason}") from None
    return content


def check_images(checkpoint: dict[str, Any], digest: str | None, hint: str = "") -> None:
    """Raise `InputError` unless a checkpoint was trained on the images with this digest.

    One from before it was kept is not refused.

    Args:
        checkpoint: its content.
        digest: of the images that there are now.
        hint: what else to say where they are others.
    """
    trained_on = checkpoint["pmnar"].get("images")
    if None not in (trained_on, digest) and trained_on != digest:
        raise InputError(
            "the checkpoint was trained on other images than there are now (a file below data_dir "
            f"was added, removed, renamed or changed){hint}; restore them, or begin a new run"
        )


def warn_of_test_images(checkpoint: dict[str, Any], digests: Mapping[str, str]) -> None:
    """Warn where a test split is no longer the one that the checkpoint's run was tested on.

    Args:
        checkpoint: its content; one from before they were kept says nothing.
        digests: of the test splits that are there now, by name.
    """
    before = checkpoint["pmnar"].get("test_images", digests)
    names = [name for name in {**before, **digests} if before.get(name) != digests.get(name)]
    if names:
        rank_zero_warn(
            f"the images or labels of {' and '.join(names)} are not those that the run was tested "
            "on before: its accuracies then and now cannot be compared"
        )


def check_labels(checkpoint: dict[str, Any], labels: Tensor) -> None:
    """Raise `InputError` unless a checkpoint was trained on exactly these given labels `[N]`."""
    trained_on = checkpoint["state_dict"]["labels"]
    if trained_on.shape != labels.shape or not bool((trained_on == labels).all()):
        raise InputError(
            "the checkpoint was trained on other labels than the configuration gives now "
            "(dataset, noise, or the files below data_dir have changed)"
        )
