"""What every batched augmentation offers: draw on the host, apply on the device."""

from typing import Protocol

import torch
from torch import Tensor

Draws = dict[str, Tensor]


class Augmentation(Protocol):
    """A random change of images, drawn per sample.

    Drawing and applying are apart so that the draws of a batch depend on its seed alone, not on
    the device or on how many ranks share the batch, and so that a test can apply the same draws
    image by image.
    """

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Parameters for `size` images of `shape` (C, H, W): CPU tensors of length `size`."""

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The changed images, uint8 `[B, C, H, W]` on the device of `images`, no host sync."""
