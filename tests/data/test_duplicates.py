"""The same image in training and in a test split, or under two classes, is told."""

import warnings
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from toy import FewDigits, make_data

from pmnar.data import ImageData, Split
from pmnar.data.duplicates import Shared, find_contradictions, find_shared, warn_of_copies
from pmnar.noise import fingerprint
from pmnar.tasks.identity import test_digests as digests_of_tests


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
    assert find_shared(train, train.fingerprint, tests) == {
        "test": [Shared(4, 0), Shared(2, 1), Shared(4, 2)]
    }
    assert find_shared(train, train.fingerprint, {}) == {}


def test_of_images_that_are_equal_in_training_the_first_is_named() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    split = Split(images, torch.zeros(3, dtype=torch.int64))
    found = find_shared(split, split.fingerprint, {"test": split})
    assert found["test"] == [Shared(0, n) for n in range(3)]


def test_a_line_names_the_first_of_them() -> None:
    data = make_data(source=Copied())
    with pytest.warns(UserWarning, match="in the training set, too") as told:
        warn_of_copies(data)
    size = len(data.splits["test"])
    assert [str(warning.message) for warning in told] == [
        f"4 of {size} images in test are in the training set, too (test/1.png is train/0.png, "
        "test/4.png is train/3.png, test/6.png is train/2.png, …): accuracy on them says little"
    ]


def test_what_was_held_out_of_training_is_no_test() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_copies(make_data(noisy_validation=0.1))


class Contradicting(FewDigits):
    """Digits of which some are there again, under other classes or under the same one."""

    def load(self) -> ImageData:
        data = super().load()
        images, labels = data.train.images.clone(), data.train.labels.clone()
        copies, originals = [10, 11, 12, 20, 21], [0, 1, 0, 3, 4]
        images[copies] = images[originals]
        labels[copies] = labels[originals]
        labels[[10, 11, 20]] = (labels[[10, 11, 20]] + 1) % data.num_classes
        return replace(data, train=Split(images, labels))


def test_an_image_in_two_classes_is_told_whatever_the_noise() -> None:
    data = make_data(source=Contradicting())
    size = len(data.splits["train"])
    with pytest.warns(UserWarning, match="in another class") as told:
        warn_of_copies(data)
    assert [str(warning.message) for warning in told] == [
        f"4 of {size} training images are copies of one in another class (number 10 is "
        "number 0, number 11 is number 1, number 12 is number 10, …): one label of each pair is "
        "wrong"
    ]


def test_contradictions_are_those_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 2, (200, 1, 2, 2), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (200,), generator=generator)
    split = Split(images, labels)
    found = find_contradictions(images, split.fingerprint)
    contents = {bytes(image.numpy().tobytes()) for image in images}
    for content in contents:
        equal = [n for n in range(200) if images[n].numpy().tobytes() == content]
        later = [b for a, b in pairwise(equal) if labels[a] != labels[b]]
        assert [at for at, _ in found if at in equal] == later
    assert all(torch.equal(images[a], images[b]) and labels[a] != labels[b] for a, b in found)


def test_each_image_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells a changed data set tells copies, too."""
    hashed: list[bytes] = []
    original = fingerprint._digest

    def counted(image: Any) -> bytes:
        hashed.append(np.ascontiguousarray(image).tobytes())
        return original(image)

    monkeypatch.setattr(fingerprint, "_digest", counted)
    data = make_data(source=FewDigits())
    warn_of_copies(data)
    assert set(digests_of_tests(data)) == set(data.test_names)
    assert data.labels.digest is not None
    assert len(hashed) == sum(map(len, data.splits.values()))
