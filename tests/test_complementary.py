"""The packed store against a plain matrix of booleans."""

import copy

import pytest
import torch
from torch import Tensor

from pmnar.complementary import ComplementaryLabels

each_size = pytest.mark.parametrize("classes", [2, 7, 8, 9, 10, 200])


def random_labels(size: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randint(classes, (size,), generator=torch.Generator().manual_seed(seed))


def whole(store: ComplementaryLabels) -> Tensor:
    """All sets, bool `[N, K]`."""
    return store.mask(torch.arange(len(store.bits)))


@each_size
def test_a_new_store_holds_every_class_but_the_given_one(classes: int) -> None:
    labels = random_labels(50, classes)
    store = ComplementaryLabels(labels, classes)
    assert torch.equal(whole(store), torch.arange(classes) != labels[:, None])
    assert store.mean_size() == classes - 1


@each_size
def test_random_discards_leave_what_a_plain_matrix_leaves(classes: int) -> None:
    labels = random_labels(40, classes)
    store = ComplementaryLabels(labels, classes)
    plain = [[k != y for k in range(classes)] for y in labels.tolist()]
    generator = torch.Generator().manual_seed(classes)
    for _ in range(2 * classes):
        before = whole(store)
        index = torch.randperm(40, generator=generator)[:25]
        gone = torch.randint(classes, (25,), generator=generator)
        store.discard(index, gone)
        for i, k in zip(index.tolist(), gone.tolist(), strict=True):
            plain[i][k] = False
        after = whole(store)
        assert after.tolist() == plain
        assert not (after & ~before).any(), "a set grew"
        assert not after[torch.arange(40), labels].any(), "a given label is in its set"
        assert store.mean_size() == sum(map(sum, plain)) / 40
    assert whole(store).any(1).sum() < 40 or classes > 10


@each_size
def test_the_mask_follows_the_index_in_any_order_and_with_repeats(classes: int) -> None:
    store = ComplementaryLabels(random_labels(30, classes), classes)
    store.discard(torch.arange(30), random_labels(30, classes, seed=1))
    index = torch.tensor([29, 0, 7, 7, 3])
    assert torch.equal(store.mask(index), whole(store)[index])
    assert store.mask(index[:0]).shape == (0, classes)


def test_discarding_the_given_label_changes_nothing() -> None:
    labels = random_labels(30, 10)
    store = ComplementaryLabels(labels, 10)
    before = store.bits.clone()
    store.discard(torch.arange(30), labels)
    assert torch.equal(store.bits, before)


def test_discarding_everything_empties_the_store() -> None:
    store = ComplementaryLabels(random_labels(12, 11), 11)
    for k in range(11):
        store.discard(torch.arange(12), torch.full((12,), k))
    assert store.mean_size() == 0
    assert not store.bits.any()


@pytest.mark.parametrize(
    ("samples", "classes", "limit"), [(50_000, 200, 10e6), (1_000_000, 1_000, 130e6)]
)
def test_the_store_is_small(samples: int, classes: int, limit: float) -> None:
    store = ComplementaryLabels(torch.arange(samples) % classes, classes)
    held = [*store.buffers(), *store.parameters()]
    assert sum(tensor.untyped_storage().nbytes() for tensor in held) <= limit
    assert store.mean_size() == classes - 1


def test_the_store_travels_with_its_state() -> None:
    labels = random_labels(30, 10)
    store = ComplementaryLabels(labels, 10)
    store.discard(torch.arange(30), random_labels(30, 10, seed=1))
    other = ComplementaryLabels(labels, 10)
    other.load_state_dict(store.state_dict())
    assert torch.equal(whole(other), whole(store))


def test_a_copy_is_independent() -> None:
    store = ComplementaryLabels(random_labels(30, 10), 10)
    other = copy.deepcopy(store)
    other.discard(torch.arange(30), random_labels(30, 10, seed=1))
    assert store.mean_size() == 9
    assert other.mean_size() < 9


def test_the_store_is_no_view_of_the_labels_and_has_nothing_to_train() -> None:
    labels = random_labels(30, 10)
    store = ComplementaryLabels(labels, 10)
    before = whole(store)
    labels.zero_()
    assert torch.equal(whole(store), before)
    assert not list(store.parameters())
