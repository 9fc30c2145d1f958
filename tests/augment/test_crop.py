from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from pmnar.augment import CropFlip, Draws
from pmnar.errors import InputError

Images = Callable[..., Tensor]


def one_by_one(images: Tensor, draws: Draws, padding: int) -> Tensor:
    """The same change by torchvision, image by image."""
    changed = []
    for image, top, left, flip in zip(images, *draws.values(), strict=True):
        padded = tv.pad(image, [padding])
        crop = tv.crop(padded, int(top), int(left), *image.shape[1:])
        changed.append(tv.hflip(crop) if flip else crop)
    return torch.stack(changed)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 32), (33, 33), (20, 33)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_equals_torchvision_image_by_image(
    random_images: Images, channels: int, height: int, width: int, padding: int, flip: bool
) -> None:
    images = random_images(40, channels, height, width)
    view = CropFlip(padding, flip)
    draws = view.draw(40, (channels, height, width), torch.Generator().manual_seed(0))
    assert list(draws) == ["top", "left", "flip"]
    torch.testing.assert_close(
        view.apply(images, draws), one_by_one(images, draws, padding), rtol=0, atol=0
    )


def test_every_offset_and_side(digits: Tensor) -> None:
    """All 9 crops of padding 1, flipped or not, of real digits."""
    top, left, flip = torch.cartesian_prod(torch.arange(3), torch.arange(3), torch.arange(2)).T
    draws = {"top": top, "left": left, "flip": flip.bool()}
    images = digits[:18]
    assert torch.equal(CropFlip(1).apply(images, draws), one_by_one(images, draws, 1))


def test_centre_crop_is_the_identity(digits: Tensor) -> None:
    draws = {name: torch.full((256,), 2) for name in ("top", "left")}
    draws["flip"] = torch.zeros(256, dtype=torch.bool)
    assert torch.equal(CropFlip(2).apply(digits, draws), digits)


def test_draws_are_uniform_and_independent() -> None:
    draws = CropFlip(2).draw(50_000, (3, 32, 32), torch.Generator().manual_seed(1))
    joint = (draws["top"] * 5 + draws["left"]) * 2 + draws["flip"]
    counts = joint.bincount(minlength=50)
    assert len(counts) == 50
    # Chi-squared of 49 degrees of freedom: beyond 90 once in 3,000 seeds.
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 90


def test_no_flip_where_none_is_wanted() -> None:
    draws = CropFlip(2, flip=False).draw(1000, (3, 32, 32), torch.Generator())
    assert not draws["flip"].any()


def test_bad_padding_names_the_key() -> None:
    with pytest.raises(InputError, match=r"dataset\.views\.padding must be at least 0, got -1"):
        CropFlip(-1)
    with pytest.raises(InputError, match=r"dataset\.views\.padding must be less than 8.* got 8"):
        CropFlip(8).draw(1, (1, 8, 9), torch.Generator())
