"""The store within a module: it is saved, loaded, copied and moved, in both its forms."""

import copy
from collections.abc import Iterator

import pytest
import torch
from stores import (
    SAMPLES,
    discards,
    has_slots,
    held_bytes,
    places_until_packed,
    random_labels,
    whole,
)
from torch import Tensor, nn

from pmnar.samples.complementary import ComplementaryLabels


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """As in training: an operation without a deterministic kernel raises."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


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
