"""Noise that depends on the true class alone, with exact shares of every class."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pmnar.noise.base import CleanLabels, IntArray, check_rate
from pmnar.noise.draws import Stream, choose_share, integers
from pmnar.noise.maps import class_map, next_in_block


def symmetric(
    labels: IntArray, num_classes: int, rate: float, seed: int, include_true: bool = False
) -> IntArray:
    """Labels of which exactly round(rate · n_c) of each class were redrawn, int64 `[N]`.

    The new label is uniform over the other K − 1 classes, or over all K with `include_true`, so
    that about rate · (K − 1)/K of the labels are wrong (the convention of DivideMix and ELR).
    """
    flipped = choose_share(labels, num_classes, rate, seed)
    if include_true:
        new = integers(seed, Stream.TARGET, len(labels), num_classes)
    else:
        step = 1 + integers(seed, Stream.TARGET, len(labels), num_classes - 1)
        new = (labels + step) % num_classes
    return np.where(flipped, new, labels)


def flip(labels: IntArray, targets: IntArray, rate: float, seed: int) -> IntArray:
    """Labels of which exactly round(rate · n_c) of each class c became `targets[c]`, int64 `[N]`.

    Every flip starts from the true label, so a pair of classes that map to each other is safe.

    Args:
        labels: the true labels, int64 `[N]`.
        targets: int64 `[K]`; a class that maps to itself stays.
        rate: share of each class, in [0, 1).
        seed: in [0, 2^64).
    """
    flipped = choose_share(labels, len(targets), rate, seed)
    return np.where(flipped, targets[labels], labels)


@dataclass(frozen=True)
class Clean:
    """No noise: the labels as they are."""

    @property
    def name(self) -> str:
        return "clean"

    @property
    def nominal_rate(self) -> float:
        return 0.0

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        return clean.labels.copy()


@dataclass(frozen=True)
class Symmetric:
    """An exact share of each class flipped uniformly; see `symmetric`.

    Attributes:
        rate: share of each class, in [0, 1).
        include_true: draw the new label from all K classes, not from the other K − 1.
    """

    rate: float
    include_true: bool = False

    def __post_init__(self) -> None:
        check_rate(self.rate)

    @property
    def name(self) -> str:
        return f"sym{100 * self.rate:g}" + ("-incl" if self.include_true else "")

    @property
    def nominal_rate(self) -> float:
        return self.rate

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        return symmetric(clean.labels, clean.num_classes, self.rate, seed, self.include_true)


@dataclass(frozen=True)
class Asymmetric:
    """An exact share of each source class flipped to the class it is mistaken for.

    Attributes:
        rate: share of each source class, in [0, 1); the share of all labels is lower where some
            classes are no source (CIFAR-10: half of it).
        map: `cifar10`, `cifar100` (next class inside the superclass), `cifar100_blocks` (next
            inside blocks of five ids), `mnist`, `digits`, `fashion_mnist`, `next` (c + 1 mod K),
            or `{source: target}` of class numbers or names. None raises `InputError` when called.
    """

    rate: float
    map: str | Mapping[int | str, int | str] | None = None

    def __post_init__(self) -> None:
        check_rate(self.rate)

    @property
    def name(self) -> str:
        """`asym30`, with what sets the map apart from the data set's own one appended."""
        other = {"cifar100_blocks": "-blocks", "next": "-next"}
        suffix = "-map" if isinstance(self.map, Mapping) else other.get(self.map or "", "")
        return f"asym{100 * self.rate:g}{suffix}"

    @property
    def nominal_rate(self) -> float:
        return self.rate

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        targets = class_map(self.map, clean.num_classes, clean.dataset, clean.class_names)
        return flip(clean.labels, targets, self.rate, seed)


@dataclass(frozen=True)
class PairFlip:
    """An exact share of each class flipped to the next one, c → c + 1 mod K.

    Attributes:
        rate: share of each class, in [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        check_rate(self.rate)

    @property
    def name(self) -> str:
        return f"pair{100 * self.rate:g}"

    @property
    def nominal_rate(self) -> float:
        return self.rate

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        targets = next_in_block(clean.num_classes, clean.num_classes)
        return flip(clean.labels, targets, self.rate, seed)
