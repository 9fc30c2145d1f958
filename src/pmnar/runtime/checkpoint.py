"""Reading and writing checkpoints."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from torch import Tensor

from pmnar.errors import InputError
from pmnar.files import replacing


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and that execute nothing when they are read."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None
    ) -> None:
        """Write beside `path`, sync, and rename."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: _PATH, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read tensors and plain values only, on the CPU unless told otherwise."""
        return _load(Path(path), map_location or "cpu")


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


def _load(path: Path, map_location: Any) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}")
    try:
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch.load raises nearly anything where a file is none of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be read as a checkpoint: {reason}") from None
    return content


def check_labels(checkpoint: dict[str, Any], labels: Tensor) -> None:
    """Raise `InputError` unless a checkpoint was trained on exactly these given labels `[N]`."""
    trained_on = checkpoint["state_dict"]["labels"]
    if trained_on.shape != labels.shape or not bool((trained_on == labels).all()):
        raise InputError(
            "the checkpoint was trained on other labels than the configuration gives now "
            "(dataset, noise, or the files below data_dir have changed)"
        )
