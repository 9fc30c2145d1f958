"""A loader whose threads gather ahead."""

import threading
from collections.abc import Iterator

import pytest
import torch
from toy import make_data

from pmnar.data.batches import OrderedBatches, Request
from pmnar.data.images import Ahead
from pmnar.names import TRAIN


class Counted(OrderedBatches):
    """Says how many requests were asked for."""

    asked = 0

    def __iter__(self) -> Iterator[Request]:
        for request in super().__iter__():
            self.asked += 1
            yield request


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_requests_come_in_order_each_once_in_every_pass(workers: int) -> None:
    images = make_data(resident="host", num_workers=workers).images
    loader = images.loader(OrderedBatches(TRAIN, 60, 7), TRAIN)
    assert isinstance(loader, Ahead)
    assert loader.num_workers == 0  # no process is forked
    for _ in range(2):
        requests = list(loader)
        assert torch.equal(torch.cat([r.indices for r in requests]), torch.arange(60))
        gathered = torch.cat([r.images for r in requests if r.images is not None])
        assert torch.equal(gathered, images.splits[TRAIN].images)


def test_threads_are_two_requests_ahead_at_most_and_end_with_the_pass() -> None:
    before = set(threading.enumerate())
    batches = Counted(TRAIN, 60, 2)
    requests = iter(make_data(resident="host", num_workers=2).images.loader(batches, TRAIN))
    for taken in (1, 2, 3):
        next(requests)
        assert batches.asked == 4 + taken - 1
    requests.close()
    assert set(threading.enumerate()) == before


def test_what_goes_wrong_in_a_thread_is_raised_where_its_request_is_asked_for() -> None:
    loader = make_data(resident="host", num_workers=2).images.loader(Wrong(TRAIN, 4, 2), TRAIN)
    requests = iter(loader)
    assert next(requests).images is not None
    with pytest.raises(IndexError):
        next(requests)


class Wrong(OrderedBatches):
    """Its second request asks for a sample that there isn't."""

    def __iter__(self) -> Iterator[Request]:
        first, second = super().__iter__()
        yield first
        yield second._replace(indices=torch.tensor([10**6]))
