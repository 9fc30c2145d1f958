"""Noise that depends on the image."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError
from pmnar.noise.base import CleanLabels, FloatArray, IntArray, check_rate
from pmnar.noise.draws import Stream, choose_column, normal, uniform

_CHUNK_VALUES = 2**22
_RATE_STD = 0.1


def flip_rates(rate: float, size: int, seed: int) -> FloatArray:
    """Each sample's chance to be flipped, from N(rate, 0.1²) truncated to [0, 1], `[N]`."""
    rates = np.full(size, -1.0)
    attempt = 0
    while (outside := (rates < 0) | (rates > 1)).any():
        fresh = rate + _RATE_STD * normal(seed, Stream.FLIP_RATE, size, part=attempt)
        rates = np.where(outside, fresh, rates)
        attempt += 1
    return rates


def instance_dependent(
    labels: IntArray, images: NDArray[np.uint8], num_classes: int, rate: float, seed: int
) -> IntArray:
    """Labels flipped with a chance, and to a class, that depend on the image, int64 `[N]`.

    Xia et al., "Part-dependent Label Noise: Towards Instance-dependent Label Noise" (NeurIPS
    2020), the generator of its experiments: sample i is flipped with chance q_i, drawn from
    N(rate, 0.1²) truncated to [0, 1]; to class k ≠ y with chance softmax(x_i W_y)_k, where W_y
    is a `[features, K]` standard normal matrix, one for each class, and x_i the flat image.

    As in the public code of the paper, x holds pixels of 0 to 255, so the softmax is close to
    an argmax. Deviations: float64; W is rounded to multiples of 2⁻²⁰, which makes the scores
    exact; a rate of 0 flips nothing. The mean of the truncated normal lies above a low rate
    (.129 for .1, .206 for .2), as it does in that code.

    Args:
        labels: the true labels, int64 `[N]`.
        images: uint8 `[N, ...]`, read a few at a time.
        num_classes: K.
        rate: in [0, 1).
        seed: in [0, 2^64).
    """
    given = labels.copy()
    if rate == 0:
        return given
    rates = flip_rates(rate, len(labels), seed)
    uniforms = uniform(seed, Stream.INSTANCE, len(labels))
    features = int(np.prod(images.shape[1:]))
    for label in np.unique(labels).tolist():
        weights = normal(seed, Stream.PROJECTION, features * num_classes, part=label)
        for part in _chunks(np.flatnonzero(labels == label), _CHUNK_VALUES // features):
            pixels = images[part].reshape(len(part), features).astype(np.float64)
            scores = pixels @ weights.reshape(features, num_classes)
            probabilities = _flip_probabilities(scores, label, rates[part])
            given[part] = choose_column(probabilities, uniforms[part])
    return given


def _chunks(positions: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    step = max(1, size)
    for start in range(0, len(positions), step):
        yield positions[start : start + step]


def _flip_probabilities(scores: FloatArray, label: int, rates: FloatArray) -> FloatArray:
    """P(given | image), `[B, K]`: 1 − q for the true class, q · softmax over the others."""
    scores[:, label] = -np.inf
    others = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: FloatArray = rates[:, None] * others / others.sum(axis=1, keepdims=True)
    probabilities[:, label] = 1 - rates
    return probabilities


@dataclass(frozen=True)
class InstanceDependent:
    """Part-dependent noise of Xia et al. (2020); see `instance_dependent`.

    Attributes:
        rate: mean chance of a flip, in [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        check_rate(self.rate)

    @property
    def name(self) -> str:
        return f"inst{100 * self.rate:g}"

    @property
    def nominal_rate(self) -> float:
        return self.rate

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        if clean.images is None:
            raise InputError(f"noise={self.name} depends on the images, and none were given")
        if clean.images.dtype != np.uint8:
            raise InputError(f"noise={self.name} goes by pixels, which features have none of")
        pixels = clean.images.astype(np.uint8, copy=False)
        return instance_dependent(clean.labels, pixels, clean.num_classes, self.rate, seed)
