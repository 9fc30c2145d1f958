"""Cutout: a square of one colour (DeVries and Taylor 2017, arXiv:1708.04552)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pmnar.augment.base import Draws
from pmnar.errors import InputError


class Cutout:
    """Sets a square to a colour. Its centre is any pixel, so it may reach over the border.

    The square covers rows `centre - size // 2` to `centre - size // 2 + size - 1`, and columns
    likewise: for even sizes, the authors' code; for odd sizes, theirs is one pixel smaller.

    Args:
        size: the square's side in pixels.
        colour: one value a channel on the scale [0, 1], rounded to 1/255; None: black.

    Raises:
        InputError: `size` is below 1, or (in `draw`) larger than the image.
    """

    def __init__(self, size: int, colour: Sequence[float] | None = None) -> None:
        if size < 1:
            raise InputError(f"dataset.views.cutout must be at least 1, got {size}")
        self.size = size
        self._colour: Tensor | None = None
        if colour is not None:
            scaled = [round(255 * value) for value in colour]
            self._colour = torch.tensor(scaled, dtype=torch.uint8)[:, None, None]

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """The centres: `row` in [0, H) and `column` in [0, W), int64 `[size]`."""
        channels, height, width = shape
        if self._colour is not None and len(self._colour) != channels:
            raise InputError(
                f"dataset.mean must have {channels} values for images of {channels} channels, "
                f"got {len(self._colour)}"
            )
        if self.size > min(height, width):
            raise InputError(
                f"dataset.views.cutout must be at most {min(height, width)}, the images' shorter "
                f"side, got {self.size}"
            )
        row = torch.randint(height, (size,), generator=generator)
        column = torch.randint(width, (size,), generator=generator)
        return {"row": row, "column": column}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The images with a hole each, uint8 `[B, C, H, W]`."""
        rows = self._covered(draws["row"], images.shape[2], images.device)
        columns = self._covered(draws["column"], images.shape[3], images.device)
        hole = rows[:, None, :, None] & columns[:, None, None, :]
        if self._colour is None:
            return images * ~hole
        return torch.where(hole, self._colour.to(images.device, non_blocking=True), images)

    def _covered(self, centre: Tensor, length: int, device: torch.device) -> Tensor:
        """Which positions along one axis the square covers, bool `[B, length]`."""
        start = (centre - self.size // 2).to(device, non_blocking=True)[:, None]
        position = torch.arange(length, device=device)
        return (position >= start) & (position < start + self.size)
