"""The store, in both its forms, against plain sets and a plain matrix of booleans."""

import copy
from collections.abc import Iterator

import pytest
import torch
from allocations import Allocations
from stores import (
    SAMPLES,
    WITH_SLOTS,
    discards,
    each_size,
    each_with_slots,
    has_slots,
    held_bytes,
    places_until_packed,
    random_labels,
    whole,
)

from pmnar.samples import complementary
from pmnar.samples.complementary import PACKED_ENOUGH, PLACES, ComplementaryLabels


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """As in training: an operation without a deterministic kernel raises."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@each_size
def test_a_new_store_holds_every_class_but_the_given_one(classes: int) -> None:
    labels = random_labels(50, classes)
    store = ComplementaryLabels(labels, classes)
    assert torch.equal(whole(store), torch.arange(classes) != labels[:, None])
    assert store.mean_size() == classes - 1
    assert has_slots(store) == (classes in WITH_SLOTS)


@each_size
def test_random_discards_leave_what_plain_sets_and_packed_bits_leave(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through growth and, but for the largest K, the turn into bits."""
    labels = random_labels(SAMPLES, classes)
    store = ComplementaryLabels(labels, classes)
    monkeypatch.setattr(complementary, "PACKED_ENOUGH", classes)
    packed = ComplementaryLabels(labels, classes)
    assert not has_slots(packed)
    lost = [{y} for y in labels.tolist()]
    before, began_with_slots = whole(store), has_slots(store)
    for index, gone in discards(classes, 2 * min(classes, 90)):
        store.discard(index, gone)
        packed.discard(index, gone)
        for i, k in zip(index.tolist(), gone.tolist(), strict=True):
            lost[i].add(k)
        after = whole(store)
        assert torch.equal(after, whole(packed))
        assert [set((~row).nonzero()[:, 0].tolist()) for row in after] == lost
        assert not (after & ~before).any(), "a set grew"
        assert not after[torch.arange(SAMPLES), labels].any(), "a given label is in its set"
        assert (
            store.mean_size()
            == packed.mean_size()
            == (sum(classes - len(of_sample) for of_sample in lost) / SAMPLES)
        )
        before = after
    assert store.slots is None or store.slots.shape[1] > PLACES
    assert has_slots(store) == (began_with_slots and classes == 40_000)


@each_size
def test_the_mask_follows_the_index_in_any_order_and_with_repeats(classes: int) -> None:
    store = ComplementaryLabels(random_labels(30, classes), classes)
    store.discard(torch.arange(30), random_labels(30, classes, seed=1))
    index = torch.tensor([29, 0, 7, 7, 3])
    assert torch.equal(store.mask(index), whole(store)[index])
    assert store.mask(index[:0]).shape == (0, classes)


@pytest.mark.parametrize("classes", [10, 1000])
def test_discarding_what_is_out_already_changes_nothing(classes: int) -> None:
    labels = random_labels(30, classes)
    store = ComplementaryLabels(labels, classes)
    store.discard(torch.arange(30), (labels + 1) % classes)
    [before] = (value.clone() for value in store.state_dict().values())
    for _ in range(3 * PLACES):
        store.discard(torch.arange(30), labels)
        store.discard(torch.arange(30), (labels + 1) % classes)
        store.discard(torch.arange(0), labels[:0])
    [after] = store.state_dict().values()
    assert torch.equal(after, before)


@pytest.mark.parametrize("classes", [11, 129, 200, 300])
def test_discarding_everything_empties_the_store(classes: int) -> None:
    store = ComplementaryLabels(random_labels(12, classes), classes)
    for k in range(classes):
        store.discard(torch.arange(12), torch.full((12,), k))
    assert store.mean_size() == 0
    assert not store.bits.any()


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "classes", "limit"),
    [(50_000, 200, 10e6), (1_000_000, 1_000, 130e6), (1_000_000, 21_841, 9e6)],
)
def test_the_store_is_small(samples: int, classes: int, limit: float) -> None:
    store = ComplementaryLabels(torch.arange(samples) % classes, classes)
    assert held_bytes(store) <= limit
    assert store.mean_size() == classes - 1


@each_size
def test_the_store_never_takes_more_than_bits_nor_than_the_most_that_a_sample_lost(
    classes: int,
) -> None:
    """One sample loses a class each time: it alone decides the width."""
    labels = random_labels(SAMPLES, classes)
    store = ComplementaryLabels(labels, classes)
    packed = (classes + 7) // 8
    itemsize = 1 if classes <= 256 else 2 if classes <= 2**15 else 4
    for lost in range(min(classes - 1, 150)):
        places = itemsize * (lost + PLACES)
        bound = packed if packed <= PACKED_ENOUGH else min(packed, places)
        assert held_bytes(store) <= SAMPLES * bound
        store.discard(torch.tensor([3]), (labels[3] + 1 + lost)[None] % classes)


@each_with_slots
def test_slots_turn_into_bits_when_they_would_be_no_smaller(classes: int) -> None:
    store = ComplementaryLabels(random_labels(4, classes), classes)
    last = places_until_packed(classes)
    for lost in range(1, last + 1):
        assert has_slots(store)
        store.discard(
            torch.tensor([2]), (store.state_dict()["slots"][2, :1].long() + lost) % classes
        )
        assert whole(store).sum(1).tolist() == [classes - 1 - lost * (i == 2) for i in range(4)]
    assert not has_slots(store)


@pytest.mark.parametrize("classes", [10, 1000])
def test_discarding_from_all_samples_at_once_takes_memory_for_a_block_of_them(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, block = 50_000, 2**12
    labels = random_labels(size, classes)
    whole_sale = ComplementaryLabels(labels, classes)
    store = copy.deepcopy(whole_sale)
    everyone, gone = torch.arange(size), random_labels(size, classes, seed=1)
    whole_sale.discard(everyone, gone)
    monkeypatch.setattr(complementary, "BLOCK", block)
    with Allocations() as allocations:
        store.discard(everyone, gone)
        mean = store.mean_size()
    assert 0 < max(allocations.made) <= 8 * block
    assert mean == whole_sale.mean_size()
    assert torch.equal(whole(store), whole(whole_sale))


# -- checkpoints ----------------------------------------------------------------------------------
