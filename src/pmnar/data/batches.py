"""Batches: which samples, in which order, on which rank."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from pmnar.errors import InputError
from pmnar.names import TRAIN
from pmnar.runtime.gather import exchange_rows, sum_over_ranks
from pmnar.runtime.seeding import derive_seed


class Share(NamedTuple):
    """This rank's part of a global batch: every `world`-th sample, beginning with `rank`.

    Attributes:
        seed: seeds all draws of the global batch; the same on every rank.
        size: samples in the global batch.
    """

    seed: int
    size: int
    rank: int = 0
    world: int = 1

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator for draws over the whole global batch, equal on every rank."""
        return torch.Generator().manual_seed(derive_seed(self.seed, purpose))

    def take(self, values: Tensor) -> Tensor:
        """This rank's rows of `values` `[size, ...]`."""
        return values[self.rank :: self.world]

    def whole(self, rows: Tensor) -> Tensor:
        """The global batch's `[size, ...]` from all ranks' rows; the inverse of `take`.

        A row's gradient goes back to the rank that it came from, from all ranks' losses: a
        collective in backward too.
        """
        return rows if self.world == 1 else _Whole.apply(rows, self)

    def mean(self, rows: Tensor) -> Tensor:
        """The sum of this rank's `rows` `[B, ...]` over the mean number of rows a rank.

        Its mean over ranks, and that of its gradient, is the global batch's mean.
        """
        return rows.sum(0) * (self.world / self.size)


class _Whole(torch.autograd.Function):
    """`Share.whole` and its gradient: DistributedDataParallel makes the mean of the ranks' sums."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return exchange_rows(rows, share.size, share.world)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.share.take(sum_over_ranks(gradient.clone())), None


class Batch(NamedTuple):
    """What a method is given.

    Attributes:
        indices: positions in the split, int64 `[B]`.
        views: normalised images, each float `[B, C, H, W]`; one per name in the method's `views`.
        labels: int64 `[B]`; given labels in training, the test split's own labels in testing, true
            labels of the split `clean`.
        share: in training, this batch's part of the global batch; None elsewhere.
        parts: where an epoch is drawn from `streams` of a method's own, a batch of each by name.
            The first is what this batch itself holds.
    """

    indices: Tensor
    views: tuple[Tensor, ...]
    labels: Tensor
    share: Share | None
    parts: Mapping[str, Any] = {}


class Request(NamedTuple):
    """What a loader yields before images are gathered: a split, positions in it, the share."""

    split: str
    indices: Tensor
    share: Share | None = None
    images: Tensor | None = None
    parts: Mapping[str, Any] = {}


class Stream(NamedTuple):
    """Samples that an epoch draws batches from.

    Attributes:
        indices: positions in the split, int64 `[n]`.
        batch_size: samples in a global batch; None: `data.batch_size`. Two for each rank at least,
            and no more than there are.
        split: `train`, or `clean`, which has true labels.
    """

    indices: Tensor
    batch_size: int | None = None
    split: str = TRAIN


class ShuffledBatches(Sampler[Request]):
    """Global batches in a new random order each epoch, this rank's share of each.

    The batch size is that of all ranks together, so a recipe means the same on any number of
    devices (but for BatchNorm, which sees a rank's share unless `trainer.sync_batchnorm=true`).
    A last batch too small for two samples a rank is left out: BatchNorm needs two.

    The first stream is gone through once, and rules the number of steps; the others are drawn
    beside it, as often as it takes, in a new order each time. A stream too small for two samples
    a rank is left out. Where there is more than the one stream `train`, a request has `parts`.

    Args:
        streams: what to draw from, by name.
        batch_size: samples in a global batch of a stream that says nothing else.
        seed: the order and all draws are a function of (seed, epoch, step, stream).
        epoch: gives the epoch about to begin; asked when iteration starts, since what Lightning
            sets on a sampler comes too late for a resumed run with workers.

    Raises:
        InputError: no stream has two samples a rank.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream],
        batch_size: int,
        seed: int,
        rank: int,
        world: int,
        epoch: Callable[[], int],
    ) -> None:
        self.streams = {
            name: stream._replace(
                batch_size=min(max(stream.batch_size or batch_size, 2 * world), len(stream.indices))
            )
            for name, stream in streams.items()
            if len(stream.indices) >= 2 * world
        }
        if not self.streams:
            raise InputError(
                f"nothing to train on: none of {', '.join(streams)} has {2 * world} samples, two "
                f"for each of {world} devices"
            )
        self.in_parts = set(streams) != {TRAIN}
        self.seed, self.rank, self.world, self.epoch = seed, rank, world, epoch

    def __len__(self) -> int:
        return self._batches(next(iter(self.streams.values())))

    def __iter__(self) -> Iterator[Request]:
        epoch = self.epoch()
        first, *others = self.streams
        drawn = {name: self._endless(name, epoch) for name in others}
        for step, members in enumerate(self._once(first, "order", epoch)):
            of_first = self._request(first, members, "draws", epoch, step)
            of_others = {
                name: self._request(name, next(batches), "draws", epoch, step, name)
                for name, batches in drawn.items()
            }
            if self.in_parts:
                yield of_first._replace(parts={first: of_first, **of_others})
            else:
                yield of_first

    def _batches(self, stream: Stream) -> int:
        assert stream.batch_size
        full, rest = divmod(len(stream.indices), stream.batch_size)
        return full + (rest >= 2 * self.world)

    def _once(self, name: str, *purpose: int | str) -> Iterator[Tensor]:
        """Global batches of a stream's samples, each once."""
        stream = self.streams[name]
        generator = torch.Generator().manual_seed(derive_seed(self.seed, *purpose))
        order = stream.indices[torch.randperm(len(stream.indices), generator=generator)]
        assert stream.batch_size
        yield from torch.split(order, stream.batch_size)[: self._batches(stream)]

    def _endless(self, name: str, epoch: int) -> Iterator[Tensor]:
        for time in count():
            yield from self._once(name, "order", epoch, name, time)

    def _request(self, name: str, members: Tensor, *purpose: int | str) -> Request:
        share = Share(derive_seed(self.seed, *purpose), len(members), self.rank, self.world)
        return Request(self.streams[name].split, share.take(members), share)


def check_batch_size(batch_size: int, size: int, world: int = 1) -> None:
    """Raise `InputError` unless a batch has two samples a rank, and no more than there are."""
    is_whole = isinstance(batch_size, int)
    if not (is_whole and 2 * world <= batch_size <= size):
        kind = "" if is_whole else "a whole number "
        raise InputError(
            f"data.batch_size must be {kind}in [{2 * world}, {size}] "
            f"({size} training samples, {world} devices), got {batch_size}"
        )


def check_clean(size: int, world: int = 1) -> None:
    """Raise `InputError` unless a split `clean` of this size has two samples a rank."""
    if size < 2 * world:
        raise InputError(
            f"data.clean must be at least {2 * world}, two for each of {world} devices, got {size}"
        )


class OrderedBatches(Sampler[Request]):
    """A split in its own order, each sample once, whole batches dealt to the ranks in blocks.

    The borders of batches do not depend on the number of ranks, so each batch's numbers are the
    single process's to the bit.
    """

    def __init__(
        self, split: str, size: int, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        self.split, self.batch_size = split, batch_size
        self.block = rank_block(size, batch_size, rank, world)

    def __len__(self) -> int:
        return len(self.block[:: self.batch_size])

    def __iter__(self) -> Iterator[Request]:
        for start in self.block[:: self.batch_size]:
            stop = min(start + self.batch_size, self.block.stop)
            yield Request(self.split, torch.arange(start, stop))


def rank_block(size: int, batch_size: int, rank: int, world: int) -> range:
    """The samples, out of `range(size)`, of a rank's `OrderedBatches`; empty if it has none."""
    batches = -(-size // batch_size)
    start, stop = (share * batches // world * batch_size for share in (rank, rank + 1))
    return range(min(start, size), min(stop, size))
