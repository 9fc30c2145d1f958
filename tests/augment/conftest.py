"""Images for all tests of views."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

Images = Callable[..., Tensor]


@pytest.fixture
def random_images() -> Images:
    """Makes uint8 `[count, C, H, W]`: noise, every eighth of few values, every eighth of one."""

    def make(count: int, channels: int, height: int, width: int | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(count + 10 * channels + 100 * height)
        shape = (count, channels, height, width or height)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        images[1::8] = images[1::8] // 100 * 60 + 40
        images[2::8] = images[2::8, :, :1, :1]
        return images

    return make


@pytest.fixture(scope="session")
def digits() -> Tensor:
    """The first 256 of scikit-learn's handwritten digits, uint8 `[256, 1, 8, 8]`."""
    images = torch.from_numpy(load_digits().images[:256])
    return (images / 16 * 255).round().to(torch.uint8)[:, None]


@pytest.fixture(scope="session")
def cifar_images() -> Tensor:
    """CIFAR-10's first 256 images, uint8 `[256, 3, 32, 32]`."""
    path = Path(__file__).parents[2] / "data/cifar-10-batches-py/data_batch_1"
    if not path.exists():
        pytest.skip("needs CIFAR-10 in data/")
    pixels = pickle.loads(path.read_bytes(), encoding="bytes")[b"data"][:256]
    return torch.from_numpy(pixels).view(256, 3, 32, 32)
