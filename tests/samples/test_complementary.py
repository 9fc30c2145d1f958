"""The store, in both its forms, against plain sets and a plain matrix of booleans."""

import copy
from collections.abc import Iterator

import pytest
import torch
from allocations import Allocations
from torch import Tensor, nn

from pmnar.samples import complementary
from pmnar.samples.complementary import PACKED_ENOUGH, PLACES, ComplementaryLabels

SAMPLES = 40
PACKED_FROM_THE_START = [2, 7, 8, 9, 10, 100, 128]
WITH_SLOTS = [129, 200, 256, 257, 1000, 40_000]
each_size = pytest.mark.parametrize("classes", [*PACKED_FROM_THE_START, *WITH_SLOTS])
each_with_slots = pytest.mark.parametrize("classes", WITH_SLOTS)


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """As in training: an operation without a deterministic kernel raises."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


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


class Holder(nn.Module):
    """Keeps the buffers that it first met, as DistributedDataParallel does."""

    def __init__(self, store: ComplementaryLabels) -> None:
        super().__init__()
        self.kept = list(store.buffers())


def test_whoever_keeps_the_first_buffer_keeps_no_memory_of_its_own() -> None:
    labels = random_labels(SAMPLES, 200)
    store = ComplementaryLabels(labels, 200)
    [kept] = Holder(store).kept
    for lost in range(1, places_until_packed(200)):
        store.discard(torch.arange(SAMPLES), (labels + lost) % 200)
        assert store.slots is kept
    store.discard(torch.arange(SAMPLES), (labels + 199) % 200)
    assert not has_slots(store)
    assert kept.untyped_storage().nbytes() == 0


# -- checkpoints ----------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [10, 200, 1000, 40_000])
def test_the_store_travels_with_its_state_at_every_stage(classes: int) -> None:
    """Into a fresh store, and into one of another form or width."""
    labels = random_labels(SAMPLES, classes)
    store, stages = ComplementaryLabels(labels, classes), []
    for stage, (index, gone) in enumerate(discards(classes, 200)):
        store.discard(index, gone)
        if stage % 20 == 0:
            stages.append(copy.deepcopy(store))
    shapes = {tuple(value.shape) for s in stages for value in s.state_dict().values()}
    assert len(shapes) > 2 or classes == 10
    for saved in stages:
        for other in (ComplementaryLabels(labels, classes), stages[0], stages[-1]):
            loaded = copy.deepcopy(other)
            loaded.load_state_dict(saved.state_dict())
            assert loaded.state_dict().keys() == saved.state_dict().keys()
            assert torch.equal(whole(loaded), whole(saved))
            assert held_bytes(loaded) == held_bytes(saved)
            assert loaded.mean_size() == saved.mean_size()
            for step in (loaded, saved):
                step.discard(torch.arange(SAMPLES), random_labels(SAMPLES, classes, seed=9))
            assert torch.equal(whole(loaded), whole(saved))


def test_a_loaded_store_is_independent_of_what_it_was_loaded_from() -> None:
    labels = random_labels(30, 1000)
    store, other = (ComplementaryLabels(labels, 1000) for _ in range(2))
    other.load_state_dict(store.state_dict())
    other.discard(torch.arange(30), (labels + 1) % 1000)
    assert store.mean_size() == 999
    assert other.mean_size() == 998


@pytest.mark.parametrize("classes", [10, 200, 1000])
def test_a_packed_store_saved_as_bits_under_its_owner_s_name_is_read(classes: int) -> None:
    """So all stores were saved before there were slots."""
    labels = random_labels(30, classes)
    sets = torch.rand(30, classes, generator=torch.Generator().manual_seed(0)) < 0.7
    sets[torch.arange(30), labels] = False
    padded = torch.zeros(30, (classes + 7) // 8 * 8, dtype=torch.int64)
    padded[:, :classes] = sets
    bits = (padded.view(30, -1, 8) << torch.arange(8)).sum(-1).to(torch.uint8)
    owner = nn.ModuleDict({"complementary": ComplementaryLabels(labels, classes)})
    owner.load_state_dict({"complementary.bits": bits})
    store = owner["complementary"]
    assert isinstance(store, ComplementaryLabels)
    assert torch.equal(whole(store), sets)


@pytest.mark.parametrize("classes", [10, 1000])
@pytest.mark.parametrize("state", [{}, {"other": torch.zeros(1)}])
def test_a_state_without_a_store_is_refused(classes: int, state: dict[str, Tensor]) -> None:
    store = ComplementaryLabels(random_labels(30, classes), classes)
    with pytest.raises(RuntimeError, match="Missing key"):
        store.load_state_dict(state)


@pytest.mark.parametrize("classes", [10, 1000])
def test_a_store_of_other_samples_is_refused(classes: int) -> None:
    store = ComplementaryLabels(random_labels(30, classes), classes)
    other = ComplementaryLabels(random_labels(31, classes), classes)
    with pytest.raises(RuntimeError, match="size mismatch"):
        store.load_state_dict(other.state_dict())


@pytest.mark.parametrize("classes", [10, 1000])
def test_a_copy_is_independent(classes: int) -> None:
    labels = random_labels(30, classes)
    store = ComplementaryLabels(labels, classes)
    other = copy.deepcopy(store)
    other.discard(torch.arange(30), (labels + 1) % classes)
    assert store.mean_size() == classes - 1
    assert other.mean_size() == classes - 2


@pytest.mark.parametrize("classes", [10, 1000])
def test_the_store_is_no_view_of_the_labels_and_has_nothing_to_train(classes: int) -> None:
    labels = random_labels(30, classes)
    store = ComplementaryLabels(labels, classes)
    before = whole(store)
    labels.zero_()
    assert torch.equal(whole(store), before)
    assert not list(store.parameters())


@pytest.mark.parametrize("classes", [10, 1000])
def test_the_store_moves_with_its_module(classes: int) -> None:
    store = ComplementaryLabels(random_labels(30, classes), classes).to("meta")
    assert store.mask(torch.zeros(3, dtype=torch.int64, device="meta")).device.type == "meta"
