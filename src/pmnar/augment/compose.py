"""Augmentations one after the other."""

from collections.abc import Iterable

import torch
from torch import Tensor

from pmnar.augment.base import Augmentation, Draws


class Compose:
    """Applies augmentations in their order; `Compose([])` changes nothing.

    The draws of part `i` have the prefix `i.`, so that composed draws stay one flat dictionary.
    """

    def __init__(self, parts: Iterable[Augmentation]) -> None:
        self.parts = tuple(parts)

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """The draws of all parts, drawn in their order."""
        return {
            f"{position}.{name}": values
            for position, part in enumerate(self.parts)
            for name, values in part.draw(size, shape, generator).items()
        }

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The images after all parts, uint8 `[B, C, H, W]`."""
        for position, part in enumerate(self.parts):
            prefix = f"{position}."
            own = {
                name.removeprefix(prefix): values
                for name, values in draws.items()
                if name.startswith(prefix)
            }
            images = part.apply(images, own)
        return images
