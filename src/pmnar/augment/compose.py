"""Augmentations one after the other."""

from collections.abc import Iterable

import torch
from torch import Tensor

from pmnar.augment.base import Augmentation, Draws, PaddedAugmentation


class Compose:
    """Applies augmentations in their order; `Compose([])` changes nothing.

    The draws of part `i` have the prefix `i.`, so that composed draws stay one flat dictionary.
    """

    def __init__(self, parts: Iterable[Augmentation]) -> None:
        self.parts = tuple(parts)
        self.padding: int = getattr(self.parts[0], "padding", 0) if self.parts else 0

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """The draws of all parts, drawn in their order."""
        return {
            f"{position}.{name}": values
            for position, part in enumerate(self.parts)
            for name, values in part.draw(size, shape, generator).items()
        }

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The images after all parts, uint8 `[B, C, H, W]`."""
        return self._from(0, images, draws)

    def apply_padded(self, padded: Tensor, draws: Draws) -> Tensor:
        """The same, of images with `padding` pixels of zeros around them."""
        if not self.padding:
            return self.apply(padded, draws)
        first: PaddedAugmentation = self.parts[0]  # type: ignore[assignment]
        return self._from(1, first.apply_padded(padded, _of_part(0, draws)), draws)

    def _from(self, start: int, images: Tensor, draws: Draws) -> Tensor:
        """The images after the parts from `start` on."""
        for position, part in enumerate(self.parts[start:], start):
            images = part.apply(images, _of_part(position, draws))
        return images


def _of_part(position: int, draws: Draws) -> Draws:
    prefix = f"{position}."
    return {
        name.removeprefix(prefix): values
        for name, values in draws.items()
        if name.startswith(prefix)
    }
