"""The same image in training and in a test split, told by content."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch

from pmnar.data.arrays import Split
from pmnar.data.module import NoisyDataModule
from pmnar.names import HELD_OUT

SHOWN = 3
"""How many images a line names."""


class Shared(NamedTuple):
    """A test image that is trained on, too: its position in both splits."""

    train: int
    test: int


def warn_of_shared(data: NoisyDataModule) -> None:
    """Warn, in a line a test split, of its images that are trained on: it says too much of them."""
    tests = {name: data.splits[name] for name in data.test_names if name != HELD_OUT}
    train = data.splits["train"]
    for name, shared in find_shared(train, tests).items():
        split, some = data.splits[name], shared[:SHOWN]
        named = ", ".join(f"{_name(split, s.test)} is {_name(train, s.train)}" for s in some)
        more = ", …" if len(shared) > SHOWN else ""
        warnings.warn(
            f"{len(shared):,} of {len(split):,} images in {name} are in the training set, too "
            f"({named}{more}): accuracy on them says little",
            stacklevel=2,
        )


def find_shared(train: Split, tests: Mapping[str, Split]) -> dict[str, list[Shared]]:
    """The images of each test split that are, pixel by pixel, in `train`; no split without any.

    Each image is read and hashed once. Of those that are equal in `train`, the first is named.
    """
    places: dict[int, list[tuple[str, int]]] = {}
    for name, split in tests.items():
        for at, key in enumerate(_keys(split)):
            places.setdefault(key, []).append((name, at))
    found: dict[str, dict[int, Shared]] = {}
    for at, key in enumerate(_keys(train) if places else ()):
        # What has been found is not looked for again: many images may be one and the same.
        for name, place in places.pop(key, ()):
            if torch.equal(train.images[at], tests[name].images[place]):
                found.setdefault(name, {})[place] = Shared(at, place)
            else:
                places.setdefault(key, []).append((name, place))
    return {name: [shared[at] for at in sorted(shared)] for name, shared in found.items()}


def _keys(split: Split) -> list[int]:
    # Equal keys may be of images that differ: whoever finds them compares.
    return [hash(image.tobytes()) for image in split.images.numpy()]


def _name(split: Split, at: int) -> str:
    return f"number {at}" if split.paths is None else split.paths[at]
