"""From uint8 images to the network's input."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pmnar.errors import InputError


class Normalize:
    """Maps uint8 images to `(x / 255 - mean) / std` in float32, channel by channel.

    Args:
        mean: each channel's mean on the scale [0, 1].
        std: each channel's standard deviation on the same scale, positive.

    Raises:
        InputError: the lengths of `mean` and `std` differ or (in the call) are not the number of
            channels, or a `std` is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std):
            raise InputError(
                f"dataset.mean and dataset.std must have one value a channel each, "
                f"got {len(mean)} and {len(std)} values"
            )
        if not all(value > 0 for value in std):
            raise InputError(f"dataset.std must be positive, got {list(std)}")
        self._constants = torch.tensor([list(mean), list(std)])[:, :, None, None]
        self._on_device: dict[torch.device, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Float32 `[B, C, H, W]` on the device of `images`, uint8 `[B, C, H, W]`."""
        channels = images.shape[1]
        if self._constants.shape[1] != channels:
            raise InputError(
                f"dataset.mean must have {channels} values for images of {channels} channels, "
                f"got {self._constants.shape[1]}"
            )
        if images.device not in self._on_device:
            self._on_device[images.device] = self._constants.to(images.device)
        mean, std = self._on_device[images.device]
        return images.to(torch.float32).div_(255).sub_(mean).div_(std)
