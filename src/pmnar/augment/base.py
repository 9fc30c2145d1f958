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
        """The changed images, uint8 `[B, C, H, W]` on the device of `images`, no host sync.

        Or standardised features, float32 `[B, D, 1, 1]`.
        """


class PaddedAugmentation(Augmentation, Protocol):
    """One that begins by padding with zeros, which can be done once for all epochs.

    Attributes:
        padding: pixels on every side.
    """

    padding: int

    def apply_padded(self, padded: Tensor, draws: Draws) -> Tensor:
        """`apply` of images that are padded already, `[B, C, H + 2·padding, W + 2·padding]`."""
