from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pmnar.augment import Cutout
from pmnar.errors import InputError

Images = Callable[..., Tensor]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 32), (33, 33), (20, 33)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_equals_the_loop_of_the_paper(
    random_images: Images, channels: int, height: int, width: int, size: int
) -> None:
    images = random_images(40, channels, height, width)
    view = Cutout(size)
    draws = view.draw(40, (channels, height, width), torch.Generator().manual_seed(0))
    expected = images.clone()
    for image, row, column in zip(expected, draws["row"], draws["column"], strict=True):
        top, left = int(row) - size // 2, int(column) - size // 2
        bottom, right = top + size, left + size
        image[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 0
    assert torch.equal(view.apply(images, draws), expected)


def test_whole_image_at_the_centre(digits: Tensor) -> None:
    centre = torch.full((256,), 4)
    assert not Cutout(8).apply(digits, {"row": centre, "column": centre}).any()


def test_centres_are_uniform() -> None:
    draws = Cutout(4).draw(40_000, (3, 5, 8), torch.Generator().manual_seed(1))
    counts = (draws["row"] * 8 + draws["column"]).bincount(minlength=40)
    assert len(counts) == 40
    # Chi-squared of 39 degrees of freedom: beyond 76 once in 3,000 seeds.
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 76


@pytest.mark.parametrize("size", [0, -3])
def test_size_below_one_names_the_key(size: int) -> None:
    with pytest.raises(InputError, match=rf"dataset\.views\.cutout must be at least 1, got {size}"):
        Cutout(size)


def test_size_above_the_image_names_the_key() -> None:
    with pytest.raises(InputError, match=r"dataset\.views\.cutout must be at most 8.* got 9"):
        Cutout(9).draw(1, (3, 32, 8), torch.Generator())
