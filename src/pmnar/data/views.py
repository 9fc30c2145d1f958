"""Views of gathered images: drawn for the whole global batch, applied to a rank's part of it.

Views of images are normalised, views are of normalised features: noise and what stands for a
missing value then mean the same for every feature.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from torch import Tensor

from pmnar.augment import Augmentation, Normalize, PaddedAugmentation
from pmnar.data.batches import Share
from pmnar.data.residence import trimmed

PLAIN = "plain"
"""The view that is the image as it is."""


class Views:
    """The augmentations by name, and the normalisation that goes with each.

    Args:
        views: augmentations by name; `plain` is always there.
        normalize: of images after each, of features before.
    """

    def __init__(self, views: Mapping[str, Augmentation], normalize: Normalize) -> None:
        self.by_name, self.normalize = dict(views), normalize

    def border(self, names: Iterable[str]) -> int:
        """Pixels of zeros that all of these views can be cut from."""
        return max((_padding(self.by_name[name]) for name in names if name != PLAIN), default=0)

    def plain(self, images: Tensor, border: int) -> Tensor:
        """Images with a border of zeros, normalised, without it: float32 `[B, C, H, W]`."""
        return self.normalize(trimmed(images, border))

    def draw(
        self, names: Sequence[str], images: Tensor, border: int, share: Share
    ) -> tuple[Tensor, ...]:
        """A view for each name, of this rank's part of the global batch, float32 `[B, C, H, W]`.

        Args:
            names: a name that repeats is drawn anew.
            images: uint8 `[B, C, H + 2·border, W + 2·border]`; or features, float32
                `[B, D, 1, 1]`, without a border.
            border: pixels of zeros around them.
            share: the part.
        """
        if images.is_floating_point():
            images = self.normalize(images)
        found = []
        for position, name in enumerate(names):
            repeat = names[:position].count(name)
            if name == PLAIN:
                found.append(self._normalized(trimmed(images, border)))
            else:
                purpose = f"{name} {repeat}" if repeat else name
                found.append(self._drawn(self.by_name[name], purpose, images, border, share))
        return tuple(found)

    def _drawn(
        self, view: Augmentation, purpose: str, images: Tensor, border: int, share: Share
    ) -> Tensor:
        channels, height, width = (*images.shape[1:2], *trimmed(images, border).shape[2:])
        draws = view.draw(share.size, (channels, height, width), share.generator(purpose))
        mine = {key: share.take(value) for key, value in draws.items()}
        padding = _padding(view)
        if border >= padding > 0:
            view = cast(PaddedAugmentation, view)
            changed = view.apply_padded(trimmed(images, border - padding), mine)
        else:
            changed = view.apply(trimmed(images, border), mine)
        return self._normalized(changed)

    def _normalized(self, view: Tensor) -> Tensor:
        """A view as networks take it; of features, it is so already."""
        return view if view.is_floating_point() else self.normalize(view)


def _padding(view: Augmentation) -> int:
    """How many pixels of zeros a view begins with."""
    padding: int = getattr(view, "padding", 0)
    return padding
