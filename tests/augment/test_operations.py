from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, autoaugment

from pmnar.augment.operations import Operations
from pmnar.augment.tables import RANDAUGMENT, SIGNED, magnitudes

Images = Callable[..., Tensor]

ALL = (*RANDAUGMENT, "Invert")


def levels_of(operation: str, bins: int, height: int, width: int) -> list[tuple[str, float]]:
    """Every magnitude of an operation, with both signs where it has a sign."""
    signs = (-1.0, 1.0) if operation in SIGNED else (1.0,)
    values = magnitudes(operation, bins, height, width).tolist()
    return [(operation, sign * value) for value in values for sign in signs]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 32), (33, 33), (20, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_torchvision_at_every_level(
    random_images: Images, channels: int, height: int, width: int
) -> None:
    """All operations, ten magnitudes and both signs, shuffled into one batch."""
    levels = [level for name in ALL for level in levels_of(name, 10, height, width)]
    images = random_images(2 * len(levels), channels, height, width)
    level = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)) // 2
    changed = Operations(levels, height, width)(images, level)
    assert changed.dtype == torch.uint8
    for image, actual, position in zip(images, changed, level.tolist(), strict=True):
        expected = autoaugment._apply_op(
            image, *levels[position], interpolation=InterpolationMode.NEAREST, fill=None
        )
        assert torch.equal(actual, expected), levels[position]


@pytest.mark.parametrize("operation", ["AutoContrast", "Equalize", "Contrast", "Sharpness"])
def test_equals_torchvision_on_real_digits(digits: Tensor, operation: str) -> None:
    """Operations that look at the whole image, on images with a real histogram."""
    changed = Operations([(operation, 0.5)], 8, 8)(digits, torch.zeros(256, dtype=torch.int64))
    for image, actual in zip(digits, changed, strict=True):
        expected = autoaugment._apply_op(image, operation, 0.5, InterpolationMode.NEAREST, None)
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("side", [1, 2])
def test_tiny_images(random_images: Images, side: int) -> None:
    """Sharpness leaves images of at most two pixels alone, as torchvision does."""
    images = random_images(8, 3, side)
    levels = [("Sharpness", 0.9), ("Rotate", 30.0), ("Equalize", 0.0)]
    for position, level in enumerate(levels):
        changed = Operations(levels, side, side)(images, torch.full((8,), position))
        expected = autoaugment._apply_op(images, *level, InterpolationMode.NEAREST, None)
        assert torch.equal(changed, expected)


@pytest.mark.parametrize("bins", [10, 31])
def test_magnitudes_equal_torchvision(bins: int) -> None:
    spaces = (
        autoaugment.AutoAugment()._augmentation_space(bins, (20, 33)),
        autoaugment.RandAugment()._augmentation_space(bins, (20, 33)),
    )
    assert (*spaces[1],) == RANDAUGMENT
    for name, (expected, signed) in {**spaces[0], **spaces[1]}.items():
        actual = magnitudes(name, bins, 20, 33)
        assert torch.equal(actual, expected.expand(bins))
        assert (name in SIGNED) == signed
