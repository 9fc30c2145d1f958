"""The same image in training and in a test split is told."""

import warnings
from dataclasses import replace

import pytest
import torch
from toy import FewDigits, make_data

from pmnar.data import ImageData, Split
from pmnar.data.duplicates import Shared, find_shared, warn_of_shared


class Copied(FewDigits):
    """Digits of which some test images are training images, from files."""

    def load(self) -> ImageData:
        data = super().load()
        images = data.test["test"].images.clone()
        images[[1, 4, 6, 8]] = data.train.images[[0, 3, 2, 0]]
        paths = tuple(f"train/{number}.png" for number in range(len(data.train)))
        test = replace(data.test["test"], images=images)
        tests = {"test": replace(test, paths=tuple(f"test/{n}.png" for n in range(len(test))))}
        return replace(data, train=replace(data.train, paths=paths), test=tests)


def test_they_are_found_by_content_alone() -> None:
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    train = Split(images, torch.zeros(5, dtype=torch.int64))
    almost = images[[1]].clone()
    almost[0, 0, 0, 0] ^= 1
    tests = {
        "test": Split(images[[4, 2, 4]], torch.ones(3, dtype=torch.int64)),
        "other": Split(almost, torch.zeros(1, dtype=torch.int64)),
    }
    assert find_shared(train, tests) == {"test": [Shared(4, 0), Shared(2, 1), Shared(4, 2)]}
    assert find_shared(train, {}) == {}


def test_of_images_that_are_equal_in_training_the_first_is_named() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    split = Split(images, torch.zeros(3, dtype=torch.int64))
    assert find_shared(split, {"test": split})["test"] == [Shared(0, n) for n in range(3)]


def test_a_line_names_the_first_of_them() -> None:
    data = make_data(source=Copied())
    with pytest.warns(UserWarning, match="in the training set, too") as told:
        warn_of_shared(data)
    size = len(data.splits["test"])
    assert [str(warning.message) for warning in told] == [
        f"4 of {size} images in test are in the training set, too (test/1.png is train/0.png, "
        "test/4.png is train/3.png, test/6.png is train/2.png, …): accuracy on them says little"
    ]


def test_what_was_held_out_of_training_is_no_test() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_shared(make_data(noisy_validation=0.1))
