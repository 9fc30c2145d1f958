"""Which samples come when, on one rank and on several."""

from collections.abc import Callable

import pytest
import torch
from ranks import interleaved
from torch import Tensor

from pmnar.data.batches import (
    OrderedBatches,
    Request,
    Share,
    ShuffledBatches,
    Stream,
    check_batch_size,
)
from pmnar.data.images import Gather
from pmnar.errors import InputError

SIZES = [(60, 20), (61, 20), (67, 20), (23, 8), (8, 8), (17, 6)]
each_size = pytest.mark.parametrize(("size", "batch_size"), SIZES)
each_world = pytest.mark.parametrize("world", [1, 2, 3])


def all_of(size: int) -> dict[str, Stream]:
    return {"train": Stream(torch.arange(size))}


def shuffled(
    size: int, batch_size: int, seed: int = 1, rank: int = 0, world: int = 1, epoch: int = 0
) -> list[Request]:
    return list(ShuffledBatches(all_of(size), batch_size, seed, rank, world, lambda: epoch))


def ordered(size: int, batch_size: int, rank: int = 0, world: int = 1) -> list[Tensor]:
    return [request.indices for request in OrderedBatches("train", size, batch_size, rank, world)]


@each_size
def test_an_epoch_covers_every_sample_once(size: int, batch_size: int) -> None:
    batches = [request.indices for request in shuffled(size, batch_size)]
    seen = torch.cat(batches)
    left_out = size % batch_size if size % batch_size < 2 else 0
    assert len(seen) == len(set(seen.tolist())) == size - left_out
    assert all(len(batch) == batch_size for batch in batches[:-1])


@each_size
@each_world
def test_the_ranks_together_get_the_single_process_batches(
    size: int, batch_size: int, world: int
) -> None:
    single = shuffled(size, batch_size)
    ranks = [shuffled(size, batch_size, rank=rank, world=world) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    for step, parts in enumerate(zip(*ranks, strict=True)):
        assert torch.equal(interleaved([part.indices for part in parts]), single[step].indices)
        share = single[step].share
        assert share is not None
        for rank, part in enumerate(parts):
            assert part.share == Share(share.seed, share.size, rank, world)
            assert len(part.indices) >= 2


@each_world
def test_a_last_batch_too_small_for_two_samples_a_rank_is_left_out(world: int) -> None:
    for rest in range(12):
        batches = shuffled(24 + rest, 12, world=world)
        sampler = ShuffledBatches(all_of(24 + rest), 12, 1, 0, world, lambda: 0)
        assert len(batches) == len(sampler) == (3 if rest >= 2 * world else 2)


def test_the_same_seed_and_epoch_give_the_same_order_and_others_another() -> None:
    def key(**changed: int) -> tuple[list[int], list[int]]:
        requests = shuffled(60, 20, **changed)
        seeds = [request.share.seed for request in requests if request.share]
        return torch.cat([request.indices for request in requests]).tolist(), seeds

    assert key() == key()
    for changed in ({"seed": 2}, {"epoch": 1}):
        order, seeds = key(**changed)
        assert order != key()[0]
        assert not set(seeds) & set(key()[1])
    assert len(set(key()[1])) == 3, "every step has draws of its own"


def test_the_epoch_is_asked_for_when_iteration_starts() -> None:
    epoch = 5
    sampler = ShuffledBatches(all_of(60), 20, 1, 0, 1, lambda: epoch)
    epoch = 6
    assert torch.equal(next(iter(sampler)).indices, shuffled(60, 20, epoch=6)[0].indices)


@pytest.mark.parametrize(("batch_size", "world"), [(1, 1), (0, 1), (-5, 1), (61, 1), (3, 2)])
def test_a_batch_size_out_of_range_is_told(batch_size: int, world: int) -> None:
    message = rf"batch_size must be in \[{2 * world}, 60\].* got {batch_size}$"
    with pytest.raises(InputError, match=message):
        check_batch_size(batch_size, 60, world)


@each_size
@each_world
def test_ordered_batches_cover_every_sample_once_in_order(
    size: int, batch_size: int, world: int
) -> None:
    ranks = [ordered(size, batch_size, rank, world) for rank in range(world)]
    together = [batch for rank in ranks for batch in rank]
    assert torch.equal(torch.cat(together), torch.arange(size))
    for rank, batches in enumerate(ranks):
        assert len(OrderedBatches("train", size, batch_size, rank, world)) == len(batches)


@each_size
@each_world
def test_the_borders_of_ordered_batches_do_not_depend_on_the_ranks(
    size: int, batch_size: int, world: int
) -> None:
    together = [b.tolist() for rank in range(world) for b in ordered(size, batch_size, rank, world)]
    assert together == [b.tolist() for b in ordered(size, batch_size)]


def test_ordered_batches_differ_by_at_most_one_between_ranks() -> None:
    counts = [len(ordered(1000, 64, rank, 3)) for rank in range(3)]
    assert max(counts) - min(counts) <= 1


def test_ordered_batches_have_no_share_and_name_their_split() -> None:
    request = next(iter(OrderedBatches("other", 10, 4)))
    assert request.split == "other"
    assert request.share is None


@each_world
def test_shares_of_draws_make_the_single_process_draws(world: int) -> None:
    def draws(share: Share) -> Tensor:
        return share.take(torch.rand(share.size, generator=share.generator("flip")))

    parts = [draws(Share(9, 11, rank, world)) for rank in range(world)]
    assert torch.equal(interleaved(parts), draws(Share(9, 11)))


def test_draws_differ_between_purposes_and_seeds() -> None:
    def draw(seed: int, purpose: str) -> list[float]:
        return torch.rand(4, generator=Share(seed, 4).generator(purpose)).tolist()

    assert draw(1, "weak") == draw(1, "weak")
    assert draw(1, "weak") != draw(1, "strong")
    assert draw(1, "weak") != draw(2, "weak")


def test_images_are_gathered_where_they_are_on_the_host() -> None:
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    request = Request("train", torch.tensor([7, 2]))
    gathered: Callable[[Request], Request] = Gather({"train": images}).__getitem__
    found = gathered(request).images
    assert found is not None
    assert found.flatten().tolist() == [7, 2]
    assert Gather({})[request].images is None
