"""Stores of complementary labels to test, and a look at what they hold."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pmnar.samples.complementary import PLACES, ComplementaryLabels

SAMPLES = 40
PACKED_FROM_THE_START = [2, 7, 8, 9, 10, 100, 128]
WITH_SLOTS = [129, 200, 256, 257, 1000, 40_000]
each_size = pytest.mark.parametrize("classes", [*PACKED_FROM_THE_START, *WITH_SLOTS])
each_with_slots = pytest.mark.parametrize("classes", WITH_SLOTS)


def random_labels(size: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randint(classes, (size,), generator=torch.Generator().manual_seed(seed))


def whole(store: ComplementaryLabels) -> Tensor:
    """All sets, bool `[N, K]`."""
    return store.mask(torch.arange(store.size))


def has_slots(store: ComplementaryLabels) -> bool:
    [name] = store.state_dict()
    assert name in ("slots", "bits")
    return name == "slots"


def held_bytes(store: ComplementaryLabels) -> int:
    held = [*store.buffers(), *store.parameters()]
    return sum(tensor.untyped_storage().nbytes() for tensor in held)


def discards(classes: int, times: int, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Random samples and a class for each: now any class, now one of a few, so that some repeat."""
    generator = torch.Generator().manual_seed(1000 * classes + seed)
    few = torch.randint(classes, (5,), generator=generator)
    for time in range(times):
        index = torch.randperm(SAMPLES, generator=generator)[:25]
        any_class = torch.randint(classes, (25,), generator=generator)
        pick = torch.randint(5, (25,), generator=generator)
        yield index, few[pick] if time % 3 == 2 else any_class


def places_until_packed(classes: int) -> int:
    """How many different classes one sample must lose for slots to turn into bits."""
    itemsize = 1 if classes <= 256 else 2 if classes <= 2**15 else 4
    widths = range(PLACES, classes + PLACES, PLACES)
    return next(w for w in widths if itemsize * (w + PLACES) >= (classes + 7) // 8)
