from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from pmnar.augment import Normalize
from pmnar.errors import InputError

Images = Callable[..., Tensor]

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 33])
def test_equals_torchvision(random_images: Images, channels: int, size: int) -> None:
    images = random_images(20, channels, size)
    before = images.clone()
    mean, std = MEAN[:channels], STD[:channels]
    expected = tv.normalize(tv.convert_image_dtype(images, torch.float32), mean, std)
    for _ in range(2):
        actual = Normalize(mean, std)(images)
        assert actual.dtype == torch.float32
        assert torch.equal(actual, expected)
    assert torch.equal(images, before)


def test_the_sets_own_moments_give_mean_0_and_std_1(digits: Tensor) -> None:
    values = digits.double() / 255
    normalized = Normalize([values.mean().item()], [values.std().item()])(digits).double()
    assert normalized.mean().item() == pytest.approx(0, abs=1e-6)
    assert normalized.std().item() == pytest.approx(1, abs=1e-6)


def test_empty_batch(random_images: Images) -> None:
    assert Normalize(MEAN, STD)(random_images(0, 3, 32)).shape == (0, 3, 32, 32)


def test_bad_constants_name_the_key(digits: Tensor) -> None:
    with pytest.raises(InputError, match=r"dataset\.mean must have 1 values.* 1 channels, got 3"):
        Normalize(MEAN, STD)(digits)
    with pytest.raises(InputError, match=r"dataset\.mean and dataset\.std .* got 3 and 1 values"):
        Normalize(MEAN, STD[:1])
    with pytest.raises(InputError, match=r"dataset\.std must be positive, got \[0\.2, 0\.0\]"):
        Normalize((0.5, 0.5), (0.2, 0.0))
