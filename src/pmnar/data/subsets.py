"""Parts of a training set: what to train on, and what to hold out of it."""

import warnings

import numpy as np
import torch
from torch import Tensor

from pmnar.data.arrays import Split
from pmnar.errors import InputError
from pmnar.noise.base import BoolArray, IntArray
from pmnar.noise.draws import check_seed


def choose_subset(size: int, subset: int | None, seed: int) -> Tensor:
    """Sorted positions `[subset]` of a random choice out of `size` samples.

    All of them without a subset, and, with a warning, where fewer are there than asked for.

    Raises:
        InputError: fewer than 2 samples are asked for, or `seed` is none.
    """
    check_seed(seed, "dataset.subset_seed")
    if subset is None:
        return torch.arange(size)
    if not isinstance(subset, int) or subset < 2:
        raise InputError(f"dataset.train_subset must be at least 2, got {subset}")
    if subset > size:
        warnings.warn(f"dataset.train_subset={subset}, but there are {size}: all", stacklevel=2)
        return torch.arange(size)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(size)
    return torch.from_numpy(np.sort(order[:subset]))


def held_out_size(size: int, fraction: float) -> int:
    """How many of `size` samples a fraction of them is, for `data.noisy_validation`.

    Raises:
        InputError: the fraction is not in [0, 1), or not 0 and leaves one side without a sample.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction < 1:
        raise InputError(f"data.noisy_validation must be in [0, 1), got {fraction!r}")
    held_out = round(fraction * size)
    if fraction > 0 and not 1 <= held_out < size:
        raise InputError(
            f"data.noisy_validation must be 0 or a share in (0, 1) that holds out at least one of "
            f"{size} training images, and not all, got {fraction}"
        )
    return held_out


def choose_held_out(given: IntArray, size: int, seed: int) -> BoolArray:
    """A random choice of `size` out of the labels `given` int64 `[N]`, as bool `[N]`.

    Of each class as many as its share of N asks for, but for one more or less.
    """
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(given))
    by_class = order[np.argsort(given[order], kind="stable")]
    held_out = np.zeros(len(given), np.bool_)
    # Every (N / size)-th of a list in the order of the classes.
    held_out[by_class[((np.arange(size) + 0.5) * len(given) / size).astype(np.int64)]] = True
    return held_out


def choose_clean(true: IntArray | None, size: int, free: BoolArray, seed: int) -> BoolArray:
    """A random choice of `size` of the samples that are `free` bool `[N]`, for `data.clean`.

    Of each true class as many as its share asks for, but for one more or less.

    Raises:
        InputError: the true labels are not known, or there are too few samples.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < free.sum():
        raise InputError(
            f"data.clean must be a number of samples in [0, {free.sum()}), got {size!r}"
        )
    chosen = np.zeros(len(free), np.bool_)
    if size:
        if true is None:
            raise InputError(
                f"data.clean={size} needs true labels, and none is known: set data.clean=0, and a "
                "method that learns from none (docs/methods.md)"
            )
        chosen[free] = choose_held_out(true[free], size, seed)
    return chosen


def take(split: Split, index: Tensor) -> Split:
    """The samples at `index` int64 `[n]`, in that order where they are not all there are."""
    if len(index) == len(split):
        return split
    paths = None if split.paths is None else tuple(split.paths[i] for i in index.tolist())
    return Split(split.images[index], split.labels[index], paths)
