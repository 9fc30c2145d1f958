"""Joining what the ranks hold."""

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Number of processes, 1 where none were started together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all ranks, `[Σ M_r, ...]`, in the order of ranks; on every rank the same.

    Ranks may hold different numbers of rows: each is padded for the journey and cut afterwards.
    """
    world = world_size()
    if world == 1:
        return rows
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world)]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def sum_over_ranks(values: Tensor) -> Tensor:
    """The sum of `values` over all ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(values)
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
