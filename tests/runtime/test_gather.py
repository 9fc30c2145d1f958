"""Joining what ranks hold, in one process and in a real group of three."""

import multiprocessing as mp
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from allocations import Allocations
from torch import Tensor, nn

from pmnar.data.batches import OrderedBatches, rank_block
from pmnar.runtime.gather import (
    average_batch_norm,
    exchange_blocks,
    least_over_ranks,
    sum_over_ranks,
    world_size,
)

WORLD = 3
TYPES = (
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.uint8,
    torch.bool,
)
SIZES = {"uneven": 11, "a rank has none": 5, "one rank has all": 3, "none at all": 0}
"""Samples, in batches of 4."""


def blocks_of(size: int) -> list[range]:
    return [rank_block(size, 4, rank, WORLD) for rank in range(WORLD)]


def whole(size: int, dtype: torch.dtype, shape: tuple[int, ...] = (2,)) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(256, (size, *shape), generator=generator).sub(100).to(dtype)


def exchanged(rank: int, values: Tensor) -> Tensor:
    """`values` where this rank had only its own block of them before."""
    blocks = blocks_of(len(values))
    mine = blocks[rank]
    rows = torch.zeros_like(values)
    rows[mine.start : mine.stop] = values[mine.start : mine.stop]
    with Allocations() as allocations:
        exchange_blocks(rows, blocks)
    assert not allocations.made
    return rows


def networks_of(rank: int) -> nn.Module:
    torch.manual_seed(rank)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False))
    network.add_module("untracked", nn.BatchNorm2d(4, track_running_stats=False))
    network(torch.randn(8, 1, 5, 5) * (rank + 1) + rank)
    return network


def member(rank: int, folder: Path) -> None:
    """What each of the processes does."""
    dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=WORLD)
    network = networks_of(rank)
    average_batch_norm(network)
    found: dict[str, Any] = {
        "world": world_size(),
        "types": [exchanged(rank, whole(11, dtype)) for dtype in TYPES],
        "sizes": [exchanged(rank, whole(size, torch.float32)) for size in SIZES.values()],
        "vector": exchanged(rank, whole(11, torch.int64, ())),
        "images": exchanged(rank, whole(11, torch.uint8, (3, 2, 2))),
        "sum": sum_over_ranks(torch.tensor([1.0, 10.0]) * (rank + 1)),
        "least": least_over_ranks(torch.tensor([5.0 - rank, torch.inf, 7.0 + rank])),
        "least of one": least_over_ranks(torch.tensor(4.0 if rank == 1 else torch.inf)),
        "network": network.state_dict(),
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_processes_join_what_they_hold(tmp_path: Path) -> None:
    fork = mp.get_context("fork")  # quicker than importing everything again
    members = [fork.Process(target=member, args=(rank, tmp_path)) for rank in range(WORLD)]
    for process in members:
        process.start()
    for process in members:
        process.join()
        assert process.exitcode == 0
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]

    for found in ranks:
        assert found["world"] == WORLD
        for dtype, rows in zip(TYPES, found["types"], strict=True):
            assert torch.equal(rows, whole(11, dtype)), dtype
        for size, rows in zip(SIZES.values(), found["sizes"], strict=True):
            assert torch.equal(rows, whole(size, torch.float32)), size
        assert torch.equal(found["vector"], whole(11, torch.int64, ()))
        assert torch.equal(found["images"], whole(11, torch.uint8, (3, 2, 2)))
        assert found["sum"].tolist() == [6.0, 60.0]
        assert found["least"].tolist() == [3.0, torch.inf, 7.0]
        assert float(found["least of one"]) == 4.0

    before = [networks_of(rank).state_dict() for rank in range(WORLD)]
    for name in before[0]:
        mean = sum(state[name] for state in before) / WORLD
        for rank, found in enumerate(ranks):
            is_statistic = "running_mean" in name or "running_var" in name
            torch.testing.assert_close(
                found["network"][name], mean if is_statistic else before[rank][name]
            )


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [0, 1, 4, 5, 11, 24])
def test_the_blocks_are_what_the_ranks_visit_and_together_all(size: int, world: int) -> None:
    blocks = [rank_block(size, 4, rank, world) for rank in range(world)]
    for rank, block in enumerate(blocks):
        visited = [r.indices for r in OrderedBatches("train", size, 4, rank, world)]
        assert [i for batch in visited for i in batch.tolist()] == [*block]
    assert [i for block in blocks for i in block] == [*range(size)]


def test_a_single_process_keeps_what_it_holds() -> None:
    rows = whole(11, torch.float32)
    before = rows.clone()
    assert world_size() == 1
    exchange_blocks(rows, [range(11)])
    assert sum_over_ranks(rows) is rows
    assert least_over_ranks(rows) is rows
    assert torch.equal(rows, before)
    network = networks_of(0)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    average_batch_norm(network)
    torch.testing.assert_close(network.state_dict(), state, rtol=0, atol=0)
