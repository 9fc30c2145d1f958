"""From uint8 images, or from features, to the network's input."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pmnar.errors import InputError


def to_float(images: Tensor) -> Tensor:
    """A float32 copy: uint8 images on the scale [0, 1], features as they are."""
    if images.is_floating_point():
        return images.to(torch.float32, copy=True)
    return images.to(torch.float32).div_(255)


class Normalize:
    """Maps uint8 images to `(x / 255 - mean) / std` in float32, channel by channel.

    Features are not divided by 255.

    Args:
        mean: each channel's mean on the scale [0, 1]; each feature's on its own; one value of
            features is that of all.
        std: each one's standard deviation on the same scale, positive; infinite for a feature
            that is constant, which becomes 0.

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
        self.mean, self.std = list(mean), list(std)
        self._constants = torch.tensor([self.mean, self.std])[:, :, None, None]
        self._on_device: dict[torch.device, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Float32 `[B, C, H, W]` on the device of `images`, uint8 or float32 `[B, C, H, W]`."""
        channels, known = images.shape[1], self._constants.shape[1]
        if known != channels and not (known == 1 and images.is_floating_point()):
            raise InputError(
                f"dataset.mean must have {channels} values for images of {channels} channels, "
                f"got {known}"
            )
        if images.device not in self._on_device:
            self._on_device[images.device] = self._constants.to(images.device)
        mean, std = self._on_device[images.device]
        return to_float(images).sub_(mean).div_(std)
