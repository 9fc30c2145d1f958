import numpy as np

from pmnar.data.sources.splitting import stratified_split


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
