"""An epoch drawn from several streams."""

from itertools import islice

import pytest
import torch
from ranks import interleaved
from torch import Tensor

from pmnar.data.batches import Request, ShuffledBatches, Stream
from pmnar.errors import InputError

LABELLED, UNLABELLED = torch.arange(0, 30), torch.arange(30, 47)
STREAMS = {"labelled": Stream(LABELLED), "unlabelled": Stream(UNLABELLED, 5)}


def requests(
    streams: dict[str, Stream] = STREAMS, rank: int = 0, world: int = 1, epoch: int = 0
) -> list[Request]:
    return list(ShuffledBatches(streams, 8, 1, rank, world, lambda: epoch))


def indices(found: list[Request], name: str) -> Tensor:
    return torch.cat([request.parts[name].indices for request in found])


def test_the_first_stream_is_gone_through_once_and_rules_the_number_of_steps() -> None:
    found = requests()
    assert len(found) == len(ShuffledBatches(STREAMS, 8, 1, 0, 1, lambda: 0)) == 4
    assert sorted(indices(found, "labelled").tolist()) == LABELLED.tolist()
    for request in found:
        assert torch.equal(request.indices, request.parts["labelled"].indices)
        assert request.share == request.parts["labelled"].share


def test_others_are_drawn_as_often_as_it_takes_each_time_in_a_new_order() -> None:
    streams = {"long": Stream(torch.arange(200)), "short": Stream(UNLABELLED, 5)}
    drawn = torch.split(indices(requests(streams), "short"), 17)
    assert len(drawn) == 7
    for once in drawn[:-1]:
        assert sorted(once.tolist()) == UNLABELLED.tolist()
    assert len({tuple(once.tolist()) for once in drawn[:-1]}) == 6


def test_the_stream_of_all_samples_is_the_epoch_that_there_was() -> None:
    """Its requests have no parts; a further stream changes nothing of it."""
    everything = {"train": Stream(torch.arange(30))}
    alone, beside = requests(everything), requests(everything | {"more": Stream(UNLABELLED)})
    assert all(not request.parts for request in alone)
    for left, right in zip(alone, beside, strict=True):
        assert torch.equal(left.indices, right.indices)
        assert left.share == right.share


def test_draws_of_streams_steps_and_epochs_differ() -> None:
    seeds = [
        part.share.seed
        for epoch in (0, 1)
        for request in requests(epoch=epoch)
        for part in request.parts.values()
    ]
    assert len(set(seeds)) == len(seeds) == 16


@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_together_get_the_single_process_parts(world: int) -> None:
    streams = {"first": Stream(torch.arange(24)), "second": Stream(torch.arange(24, 48), 12)}
    single = requests(streams)
    ranks = [requests(streams, rank, world) for rank in range(world)]
    for one, *parts in zip(single, *ranks, strict=True):
        for name in streams:
            mine = [part.parts[name].indices for part in parts]
            assert torch.equal(interleaved(mine), one.parts[name].indices)


def test_a_stream_too_small_for_two_samples_a_rank_is_left_out() -> None:
    few = {"few": Stream(torch.arange(3)), **STREAMS}
    assert requests(few)[0].parts.keys() == few.keys()
    assert requests(few, world=2)[0].parts.keys() == STREAMS.keys()
    assert len(requests(few, world=2)) == 4, "the next one rules"
    with pytest.raises(InputError, match=r"none of few has 4 samples, two for each of 2 devices$"):
        requests({"few": few["few"]}, world=2)


def test_a_stream_smaller_than_a_batch_makes_one_of_all_there_is() -> None:
    small = ShuffledBatches({"small": Stream(torch.arange(5))}, 8, 1, 0, 1, lambda: 0)
    assert [len(request.indices) for request in small] == [5]


def test_parts_of_less_than_two_samples_a_rank_are_not_drawn() -> None:
    streams = {"long": Stream(torch.arange(80)), "odd": Stream(torch.arange(9))}
    sizes = [len(r.parts["odd"].indices) for r in islice(requests(streams), 5)]
    assert sizes == [8] * 5, "the ninth would be alone"
