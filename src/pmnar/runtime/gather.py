"""Joining what the ranks hold."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Number of processes, 1 where none were started together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def exchange_blocks(rows: Tensor, blocks: Sequence[range]) -> None:
    """Give every rank the rows that the others hold, in place: nothing is allocated.

    Args:
        rows: contiguous, `[N, ...]` of any type; a rank's own block holds its values.
        blocks: each rank's contiguous part of `range(N)`, which may be empty; together all of it.
    """
    if world_size() == 1:
        return
    for rank, block in enumerate(blocks):
        if len(block):
            # As bytes: neither gloo nor NCCL knows every type.
            dist.broadcast(rows[block.start : block.stop].view(torch.uint8), src=rank)


@torch.no_grad()
def exchange_rows(rows: Tensor, size: int, world: int) -> Tensor:
    """All ranks' rows, `[size, ...]`, of which a rank has every `world`-th, beginning with its own.

    A collective: every rank takes part, with rows of the same type and shape.
    """
    if rows.dtype == torch.bool:  # which gloo does not know
        return exchange_rows(rows.to(torch.uint8), size, world).bool()
    mine = rows.new_zeros((-(-size // world), *rows.shape[1:]))  # some have a row fewer
    mine[: len(rows)] = rows
    of_ranks = [torch.empty_like(mine) for _ in range(world)]
    dist.all_gather(of_ranks, mine)
    return torch.stack(of_ranks, 1).flatten(0, 1)[:size]


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of `values` over all ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def least_over_ranks(values: Tensor) -> Tensor:
    """The least of `values` over all ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(values, dist.ReduceOp.MIN)
    return values


def average_batch_norm(module: nn.Module) -> None:
    """Make every BatchNorm's running statistics the mean over the ranks, in place.

    Each rank has seen its own share of the batches. Nothing changes in a single process.
    """
    if (world := world_size()) == 1:
        return
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            for statistic in (layer.running_mean, layer.running_var):
                if statistic is not None:
                    sum_over_ranks(statistic).div_(world)
