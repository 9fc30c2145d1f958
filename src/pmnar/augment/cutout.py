"""Cutout: a square of zeros (DeVries and Taylor 2017, arXiv:1708.04552)."""

import torch
from torch import Tensor

from pmnar.augment.base import Draws
from pmnar.errors import InputError


class Cutout:
    """Sets a square to zero. Its centre is any pixel, so it may reach over the border.

    The square covers rows `centre - size // 2` to `centre - size // 2 + size - 1`, and columns
    likewise: for even sizes, the authors' code; for odd sizes, theirs is one pixel smaller.

    Args:
        size: the square's side in pixels.

    Raises:
        InputError: `size` is below 1, or (in `draw`) larger than the image.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise InputError(f"dataset.views.cutout must be at least 1, got {size}")
        self.size = size

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """The centres: `row` in [0, H) and `column` in [0, W), int64 `[size]`."""
        _, height, width = shape
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
        return images * ~(rows[:, None, :, None] & columns[:, None, None, :])

    def _covered(self, centre: Tensor, length: int, device: torch.device) -> Tensor:
        """Which positions along one axis the square covers, bool `[B, length]`."""
        start = (centre - self.size // 2).to(device, non_blocking=True)[:, None]
        position = torch.arange(length, device=device)
        return (position >= start) & (position < start + self.size)
