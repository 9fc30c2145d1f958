"""The two views that training sees: a weak one and a strong one."""

from collections.abc import Sequence

from pmnar.augment.base import Augmentation, PaddedAugmentation
from pmnar.augment.compose import Compose
from pmnar.augment.crop import CropFlip
from pmnar.augment.cutout import Cutout
from pmnar.augment.policies import AutoAugment, RandAugment
from pmnar.augment.tables import GEOMETRIC
from pmnar.errors import InputError

KINDS = ("autoaugment", "randaugment", "geometric", "cutout", "none")


def weak_view(padding: int, flip: bool) -> PaddedAugmentation:
    """Padding, random crop and (where `flip`) random flip.

    Raises:
        InputError: `padding` is negative.
    """
    return CropFlip(padding, flip)


def strong_view(
    padding: int,
    flip: bool,
    kind: str,
    cutout: int = 0,
    colour: Sequence[float] | None = None,
) -> PaddedAugmentation:
    """A weak view of its own, then a policy, then a hole where `cutout` is not 0.

    Args:
        padding: of the weak part.
        flip: of the weak part.
        kind: `autoaugment` (CIFAR-10 policy), `randaugment`, `geometric` (RandAugment's shears,
            translations and rotations alone, for images of strokes rather than of scenes),
            `cutout` or `none`.
        cutout: side of the hole in pixels; must not be 0 where `kind` is `cutout`.
        colour: of the hole, see `Cutout`; None: black.

    Raises:
        InputError: `kind` is unknown, or a number is out of its range.
    """
    if kind not in KINDS:
        raise InputError(f"dataset.views.strong must be one of {', '.join(KINDS)}, got {kind!r}")
    parts: list[Augmentation] = [CropFlip(padding, flip)]
    if kind == "autoaugment":
        parts.append(AutoAugment("cifar10"))
    elif kind == "randaugment":
        parts.append(RandAugment())
    elif kind == "geometric":
        parts.append(RandAugment(operations=GEOMETRIC))
    if kind == "cutout" or cutout != 0:
        parts.append(Cutout(cutout, colour))
    return Compose(parts)
