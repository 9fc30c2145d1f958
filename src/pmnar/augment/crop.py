"""The weak view: zero padding, a random crop back to the size, a random horizontal flip."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from pmnar.augment.base import Draws
from pmnar.errors import InputError


class CropFlip:
    """Pads with zeros, crops back to the size, and flips left to right with probability 1/2.

    Args:
        padding: pixels on every side; every offset in [0, 2 · padding] is equally likely.
        flip: whether images may be flipped.

    Raises:
        InputError: `padding` is negative, or (in `draw`) not smaller than the image.
    """

    def __init__(self, padding: int, flip: bool = True) -> None:
        if padding < 0:
            raise InputError(f"dataset.views.padding must be at least 0, got {padding}")
        self.padding = padding
        self.flip = flip

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """Offsets `top`, `left` in the padded image, int64 `[size]`, and `flip`, bool `[size]`."""
        side = min(shape[1:])
        if self.padding >= side:
            raise InputError(
                f"dataset.views.padding must be less than {side}, the images' shorter side, "
                f"got {self.padding}"
            )
        top, left = torch.randint(2 * self.padding + 1, (2, size), generator=generator)
        flip = torch.randint(2, (size,), generator=generator).bool()
        return {"top": top, "left": left, "flip": flip & self.flip}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The crops, uint8 `[B, C, H, W]`."""
        return self.apply_padded(pad(images, (self.padding,) * 4), draws)

    def apply_padded(self, padded: Tensor, draws: Draws) -> Tensor:
        """The crops, of images that have their zeros already, `[B, C, H + 2·padding, W + …]`."""
        channels = padded.shape[1]
        height, width = (side - 2 * self.padding for side in padded.shape[2:])
        top, left, flip = (
            draws[name].to(padded.device, non_blocking=True)[:, None]
            for name in ("top", "left", "flip")
        )
        column = torch.arange(width, device=padded.device)
        row = torch.arange(height, device=padded.device)
        source_column = torch.where(flip, width - 1 - column, column) + left
        source_row = (row + top) * (width + 2 * self.padding)
        source = (source_row[:, :, None] + source_column[:, None, :]).flatten(1)
        crops = padded.flatten(2).gather(2, source[:, None].expand(-1, channels, -1))
        return crops.view(-1, channels, height, width)
