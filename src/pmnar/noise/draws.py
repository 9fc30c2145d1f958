"""Random draws that are the same on every platform, rank and numpy version.

numpy promises a stable stream for its bit generators alone, not for the distributions made from
them. So everything here starts from the raw 64-bit words of Philox, a counter-based generator:
(seed, stream, part) names a draw, and different names give independent draws.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError
from pmnar.noise.base import FloatArray, IntArray


class Stream(IntEnum):
    """What a draw is for. The numbers are part of the saved results: never reuse or change one."""

    WHICH = 1
    TARGET = 2
    TRANSITION = 3
    FLIP_RATE = 4
    PROJECTION = 5
    INSTANCE = 6


def check_seed(seed: int, key: str = "seed") -> None:
    """Raise `InputError`, with its key, unless `seed` is a whole number in [0, 2^64)."""
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**64:
        raise InputError(f"{key} must be a whole number in [0, 2^64), got {seed!r}")


def raw(seed: int, stream: Stream, size: int, part: int = 0) -> NDArray[np.uint64]:
    """`size` words of 64 random bits."""
    check_seed(seed)
    key = np.array([seed, int(stream)], np.uint64)
    # the generator counts in the low words, so a part of its own high word never overlaps another
    counter = np.array([0, 0, 0, part], np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(size)


def uniform(seed: int, stream: Stream, size: int, part: int = 0) -> FloatArray:
    """Floats on [0, 1), multiples of 2⁻⁵³."""
    return (raw(seed, stream, size, part) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(seed: int, stream: Stream, size: int, high: int) -> IntArray:
    """Whole numbers on [0, high), int64."""
    return (uniform(seed, stream, size) * high).astype(np.int64)


def normal(seed: int, stream: Stream, size: int, part: int = 0) -> FloatArray:
    """Standard normals by Box and Muller, rounded to multiples of 2⁻²⁰.

    The rounding hides the last-bit differences between mathematics libraries, and makes sums of
    products with whole numbers exact in float64, in whatever order they are added.
    """
    half = (size + 1) // 2
    first, second = np.split(uniform(seed, stream, 2 * half, part), 2)
    radius = np.sqrt(-2 * np.log(1 - first))
    angle = 2 * np.pi * second
    pair = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
    return np.rint(pair * 2.0**20) * 2.0**-20


def choose_share(labels: IntArray, num_classes: int, rate: float, seed: int) -> NDArray[np.bool_]:
    """A mask `[N]` of exactly round(rate · n_c) samples of every class, round half to even."""
    keys = raw(seed, Stream.WHICH, len(labels))
    order = np.lexsort((keys, labels))
    counts = np.bincount(labels, minlength=num_classes)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    wanted = np.rint(rate * counts)
    mask = np.zeros(len(labels), np.bool_)
    mask[order] = rank < wanted[labels[order]]
    return mask


def choose_column(probabilities: FloatArray, uniforms: FloatArray) -> IntArray:
    """A column drawn from each row, int64 `[B]`.

    Args:
        probabilities: `[B, K]`, not negative, each row with a positive sum. A column of
            probability 0 is never drawn.
        uniforms: `[B]` on [0, 1).
    """
    cumulative = np.cumsum(probabilities, axis=1)
    threshold = uniforms * cumulative[:, -1]
    column: IntArray = np.sum(cumulative <= threshold[:, None], axis=1, dtype=np.int64)
    return column
