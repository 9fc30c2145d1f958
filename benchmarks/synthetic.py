"""Images of any number and size, made up, and a network with next to nothing to compute.

What is timed must not depend on which data sets a machine has.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pmnar.data import ImageData, Split


class Images:
    """A source of random images whose labels go through the classes in turn.

    Args:
        samples: training images.
        shape: channels, height and width.
        classes: K.
        test: test images.
    """

    name = "synthetic"

    def __init__(
        self, samples: int, shape: Sequence[int] = (3, 32, 32), classes: int = 10, test: int = 2
    ) -> None:
        self.samples, self.shape, self.classes, self.test = samples, tuple(shape), classes, test

    def prepare(self) -> None:
        """Nothing to do."""

    def load(self) -> ImageData:
        """The same images at every call."""
        names = tuple(str(k) for k in range(self.classes))
        train, test = self._split(self.samples, seed=0), self._split(self.test, seed=1)
        return ImageData(self.name, names, train, {"test": test})

    def _split(self, size: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        shape = (size, *self.shape)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        return Split(images, torch.arange(size) % self.classes)


BLOCK = 10_000
"""Rows of features that are made at a time."""


def write_features(folder: Path, rows: int, width: int, classes: int = 10) -> Path:
    """A `.npy` of random features float32 `[rows, width]`, with labels and a split beside it.

    The last hundredth is the test split, so that both are mapped where they are.
    """
    path, test = folder / "features.npy", max(rows // 100, 2)
    made = np.lib.format.open_memmap(path, "w+", np.float32, (rows, width))
    generator = np.random.default_rng(0)
    for start in range(0, rows, BLOCK):
        block = made[start : start + BLOCK]
        block[:] = generator.standard_normal(block.shape, np.float32)
    made.flush()
    np.save(folder / "features.labels.npy", np.arange(rows) % classes)
    split = np.where(np.arange(rows) < rows - test, "train", "test")
    np.save(folder / "features.split.npy", split)
    return path


class Tiny(nn.Module):
    """A convolution, BatchNorm, ReLU, pooling and a linear layer: next to nothing to compute."""

    def __init__(self, num_classes: int, in_channels: int = 1, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.head, self.feature_size = nn.Linear(width, num_classes), width

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → features `[B, feature_size]`."""
        features: Tensor = self.norm(self.conv(x)).relu().mean((2, 3))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → logits `[B, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits
