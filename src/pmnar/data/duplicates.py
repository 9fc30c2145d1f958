"""The same image twice, in training and in a test split or under two classes, told by content."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pmnar.data.arrays import Split
from pmnar.data.module import NoisyDataModule
from pmnar.names import HELD_OUT
from pmnar.noise.fingerprint import Fingerprint

SHOWN = 3
"""How many images a line names."""


class Shared(NamedTuple):
    """A test image that is trained on, too: its position in both splits."""

    train: int
    test: int


def warn_of_copies(data: NoisyDataModule) -> None:
    """Warn of images that are there twice, from the digests that are known of each.

    In a line a test split, of its images that are trained on, so that it says too much of them;
    in one more, of training images that are in two classes. What is held out of training is
    neither.
    """
    train, samples = data.splits["train"], data.labels.fingerprint
    assert samples is not None  # there are images
    tests = {name: data.splits[name] for name in data.test_names if name != HELD_OUT}
    kind = train.noun
    for name, shared in find_shared(train, samples, tests).items():
        split = data.splits[name]
        named = [f"{_name(split, s.test)} is {_name(train, s.train)}" for s in shared[:SHOWN]]
        warnings.warn(
            f"{len(shared):,} of {len(split):,} {kind} in {name} are in the training set, too "
            f"({_first(named, len(shared))}): accuracy on them says little",
            stacklevel=2,
        )
    if twice := find_contradictions(train.images, samples):
        names = [f"{_name(train, at)} is {_name(train, other)}" for at, other in twice[:SHOWN]]
        warnings.warn(
            f"{len(twice):,} of {len(train):,} training {kind} are copies of one in another class "
            f"({_first(names, len(twice))}): one label of each pair is wrong",
            stacklevel=2,
        )


def find_shared(
    train: Split, samples: Fingerprint, tests: Mapping[str, Split]
) -> dict[str, list[Shared]]:
    """The images of each test split that are, pixel by pixel, in `train`; no split without any.

    Of those that are equal in `train`, the first is named.

    Args:
        train: the training images.
        samples: their fingerprint.
        tests: the test splits by name.
    """
    positions: dict[int, list[tuple[str, int]]] = {}
    for name, split in tests.items():
        for at, key in enumerate(split.fingerprint.digests.tolist()):
            positions.setdefault(key, []).append((name, at))
    found: dict[str, dict[int, Shared]] = {}
    for at, key in enumerate(samples.digests.tolist() if positions else ()):
        # What has been found is not looked for again: many images may be one and the same.
        for name, position in positions.pop(key, ()):
            if torch.equal(train.images[at], tests[name].images[position]):
                found.setdefault(name, {})[position] = Shared(at, position)
            else:  # equal digests may be of images that differ
                positions.setdefault(key, []).append((name, position))
    return {name: [shared[at] for at in sorted(shared)] for name, shared in found.items()}


def find_contradictions(images: Tensor, samples: Fingerprint) -> list[tuple[int, int]]:
    """The images `[N, C, H, W]` that an earlier one in another class is equal to.

    By the classes that the source gave them: noise is no contradiction.

    Returns:
        position and that of an equal image before it, in the order of the first.
    """
    order = np.argsort(samples.digests, kind="stable")
    digests, labels = samples.digests[order], samples.labels[order]
    suspected = (digests[1:] == digests[:-1]) & (labels[1:] != labels[:-1])
    pairs = zip(order[1:][suspected].tolist(), order[:-1][suspected].tolist(), strict=True)
    return sorted((at, before) for at, before in pairs if torch.equal(images[at], images[before]))


def _first(named: list[str], count: int) -> str:
    return ", ".join(named) + (", …" if count > len(named) else "")


def _name(split: Split, at: int) -> str:
    return f"number {at}" if split.paths is None else split.paths[at]
