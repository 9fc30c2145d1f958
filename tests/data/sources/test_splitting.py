from typing import Any

import numpy as np
import pytest

from pmnar.data.sources import Digits, ImageFolder
from pmnar.data.sources.splitting import stratified_split
from pmnar.data.subsets import choose_subset
from pmnar.errors import InputError


def test_every_sample_is_in_one_split_and_each_class_in_its_share() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 10, 4]))
    train, test = stratified_split(labels, 0.25, seed=3)
    assert sorted([*train, *test]) == list(range(54))
    assert np.bincount(labels[test]).tolist() == [10, 2, 1]
    assert (np.diff(train) > 0).all()


def test_small_classes_keep_a_training_sample_and_give_a_test_sample() -> None:
    labels = np.array([0, 1, 1, 2, 2])
    for fraction in (0.01, 0.99):
        train, test = stratified_split(labels, fraction, seed=0)
        assert labels[train].tolist() == [0, 1, 2]
        assert labels[test].tolist() == [1, 2]


def test_a_fraction_of_0_leaves_all_in_training() -> None:
    labels = np.array([0, 1, 1, 2, 2])
    train, test = stratified_split(labels, 0, seed=0)
    assert train.tolist() == [0, 1, 2, 3, 4]
    assert test.tolist() == []


@pytest.mark.parametrize("value", ["some", -1, 1.5, None])
def test_what_is_no_fraction_seed_or_size_is_a_line(value: Any) -> None:
    for source in (Digits, lambda **options: ImageFolder("absent", **options)):
        with pytest.raises(InputError, match=rf"dataset.source.test_fraction must be .* {value}"):
            source(test_fraction=value)
        with pytest.raises(InputError, match=r"dataset.source.split_seed must be a whole number"):
            source(split_seed=value)
    with pytest.raises(InputError, match=r"dataset.subset_seed must be a whole number"):
        choose_subset(10, 5, seed=value)
    with pytest.raises(InputError, match=r"dataset.source.labels_are_true must be true or false"):
        ImageFolder("absent", labels_are_true=value)
    if value is not None:
        with pytest.raises(InputError, match=rf"dataset.train_subset must be .* {value}"):
            choose_subset(10, value, seed=0)
