"""Setting aside a test split."""

import numpy as np

from pmnar.data.sources.listing import IntArray
from pmnar.errors import InputError
from pmnar.noise.draws import check_seed


def check_split(test_fraction: float, seed: int) -> None:
    """Raises `InputError` where `test_fraction` is not in [0, 1), or `seed` is none."""
    number = isinstance(test_fraction, (int, float)) and not isinstance(test_fraction, bool)
    if not (number and 0 <= test_fraction < 1):
        raise InputError(f"dataset.source.test_fraction must be in [0, 1), got {test_fraction}")
    check_seed(seed, "dataset.source.split_seed")


def check_labels_are_true(labels_are_true: object) -> None:
    """Raise `InputError` unless it is true or false."""
    if not isinstance(labels_are_true, bool):
        raise InputError(
            f"dataset.source.labels_are_true must be true or false, got {labels_are_true}"
        )


def stratified_split(
    labels: IntArray, test_fraction: float, seed: int
) -> tuple[IntArray, IntArray]:
    """Positions of the training and of the test samples, each in ascending order.

    A class of n samples gives round(n · test_fraction) to the test split, at least one and at most
    n − 1; a class of a single sample stays in training. A fraction of 0 leaves all in training.
    """
    generator = np.random.default_rng(seed)
    in_test = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels) if test_fraction > 0 else ():
        members = np.flatnonzero(labels == label)
        count = min(max(round(len(members) * test_fraction), 1), len(members) - 1)
        in_test[generator.permutation(members)[:count]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
