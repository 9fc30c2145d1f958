"""What a kind of label noise gets and gives."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError
from pmnar.noise.fingerprint import Fingerprint

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def check_rate(rate: float) -> None:
    """Raise `InputError` unless `rate` is a number in [0, 1)."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise InputError(f"noise.rate must be in [0, 1), got {rate!r}")


def check_labels(labels: IntArray, num_classes: int, what: str = "labels") -> IntArray:
    """`labels` as int64 `[N]`; `InputError` unless they are whole numbers in `[0, K)`."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(
            f"{what} must be whole numbers in one dimension, got {labels.dtype} {labels.shape}"
        )
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        position = int(outside[0])
        value = int(labels[position])
        raise InputError(f"{what} must be in [0, {num_classes}), got {value} at {position}")
    return labels.astype(np.int64, copy=False)


@dataclass(frozen=True, eq=False)
class CleanLabels:
    """Everything that a noise may look at.

    Attributes:
        labels: the true labels, int64 `[N]`, in `[0, K)`.
        num_classes: K, at least 2.
        dataset: the data set's configuration name, for messages and for files of one data set.
        index: position of each sample in the official training set, int64 `[N]` (the identity
            unless a subset is trained on).
        images: uint8 `[N, C, H, W]`, for instance-dependent noise; or features, float32.
        class_names: K names, for labels and maps that are given by name; empty where unknown.
        paths: the images' files below their folder, N, where there are any.
        given: the labels that they came with, int64 `[N]`, where the true ones are known besides:
            what no noise leaves.

    Raises:
        InputError: labels outside `[0, K)`, or arrays that do not fit each other.
    """

    labels: IntArray
    num_classes: int
    dataset: str = ""
    index: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    images: NDArray[np.uint8] | NDArray[np.float32] | None = None
    class_names: tuple[str, ...] = ()
    paths: tuple[str, ...] | None = None
    given: IntArray | None = None

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise InputError(f"label noise needs at least 2 classes, got {self.num_classes}")
        object.__setattr__(self, "labels", check_labels(self.labels, self.num_classes))
        size = len(self.labels)
        index = self.index if len(self.index) else np.arange(size)
        object.__setattr__(self, "index", np.asarray(index, np.int64))
        if len(self.index) != size:
            raise InputError(f"{size} labels, but {len(self.index)} indices")
        if self.images is not None and len(self.images) != size:
            raise InputError(f"{size} labels, but {len(self.images)} images")

    @cached_property
    def fingerprint(self) -> Fingerprint | None:
        """What tells these samples from others; None without images."""
        if self.images is None:
            return None
        return Fingerprint.of(self.images, self.labels, self.index, self.paths)


class Noise(Protocol):
    """A kind of label noise: a pure function of (labels, its own fields, seed)."""

    @property
    def name(self) -> str:
        """Short name for folders and tables, such as `sym50`."""

    @property
    def nominal_rate(self) -> float | None:
        """The rate asked for; None where none was (human labels, a matrix, a file)."""

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        """The given labels, int64 `[N]`."""
