"""What a data source hands over: arrays of images and labels."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from torch import Tensor

from pmnar.errors import InputError
from pmnar.noise.fingerprint import Fingerprint


@dataclass(frozen=True)
class Split:
    """Images, or features of such, and labels of one split.

    Attributes:
        images: uint8 `[N, C, H, W]`, C is 1 or 3; or features, float32 `[N, D, 1, 1]`.
        labels: int64 `[N]`, in `[0, K)`.
        paths: the file of each image, relative to the data set's folder, where there is one.
    """

    images: Tensor
    labels: Tensor
    paths: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise InputError(f"{len(self.images)} {self.noun}, but {len(self.labels)} labels")
        if self.paths is not None and len(self.paths) != len(self.labels):
            raise InputError(f"{len(self.paths)} paths, but {len(self.labels)} labels")

    @property
    def noun(self) -> str:
        """What to call them: `images`, or `samples`, where there are features."""
        return "samples" if self.images.is_floating_point() else "images"

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Of images, labels, paths and their order; all images are read, once."""
        labels = self.labels.numpy()
        index = np.arange(len(labels))
        return Fingerprint.of(self.images.numpy(), labels, index, self.paths)


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes:
        name: its configuration name, such as `cifar10`.
        class_names: K names, in the order of the label ids.
        train: the training split, in the official order.
        test: the test splits by name; the first is the one that accuracy is reported on.
        labels_are_true: False where the training labels come from an untrusted source (a folder
            of badly labelled images, a web crawl): they are then given labels, and no true
            label is known.
        given: the training labels as they come, int64 `[N]`, where the source has them beside
            true ones, which then are those of `train`.
        rows: the place of each training sample in the source's own order, int64 `[N]`, ascending;
            None: 0 to N − 1.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: dict[str, Split] = field(default_factory=dict)
    labels_are_true: bool = True
    given: Tensor | None = None
    rows: Tensor | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class Source(Protocol):
    """Where a data set comes from."""

    name: str

    def prepare(self) -> None:
        """Download or decode what is missing. Called by one process at a time."""

    def load(self) -> ImageData:
        """Read everything into memory. Called by every process."""
