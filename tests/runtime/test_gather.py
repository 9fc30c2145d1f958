"""Joining what ranks hold, in one process and in a real group of two."""

import multiprocessing as mp
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pmnar.runtime.gather import average_batch_norm, gather_rows, sum_over_ranks, world_size

ROWS = {0: 3, 1: 5}


def rows_of(rank: int, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.arange(2 * ROWS[rank]).view(-1, 2) + 100 * rank
    return values.to(dtype)


def networks_of(rank: int) -> nn.Module:
    torch.manual_seed(rank)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False))
    network.add_module("untracked", nn.BatchNorm2d(4, track_running_stats=False))
    network(torch.randn(8, 1, 5, 5) * (rank + 1) + rank)
    return network


def member(rank: int, folder: Path) -> None:
    """What each of the two processes does."""
    dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=2)
    network = networks_of(rank)
    average_batch_norm(network)
    found: dict[str, Any] = {
        "world": world_size(),
        "float": gather_rows(rows_of(rank)),
        "double": gather_rows(rows_of(rank, torch.float64)),
        "int": gather_rows(rows_of(rank, torch.int64)),
        "vector": gather_rows(rows_of(rank)[:, 0]),
        "none on the first": gather_rows(rows_of(rank)[: 5 * rank]),
        "none at all": gather_rows(rows_of(rank)[:0]),
        "sum": sum_over_ranks(torch.tensor([1.0, 10.0]) * (rank + 1)),
        "network": network.state_dict(),
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_processes_join_what_they_hold(tmp_path: Path) -> None:
    spawn = mp.get_context("spawn")
    members = [spawn.Process(target=member, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in members:
        process.start()
    for process in members:
        process.join()
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    torch.testing.assert_close(first["float"], second["float"], rtol=0, atol=0)

    for found in (first, second):
        assert found["world"] == 2
        for name, dtype in (
            ("float", torch.float32),
            ("double", torch.float64),
            ("int", torch.int64),
        ):
            assert torch.equal(found[name], torch.cat([rows_of(0, dtype), rows_of(1, dtype)]))
        assert torch.equal(found["vector"], torch.cat([rows_of(0), rows_of(1)])[:, 0])
        assert torch.equal(found["none on the first"], rows_of(1))
        assert found["none at all"].shape == (0, 2)
        assert found["sum"].tolist() == [3.0, 30.0]

    before = [networks_of(rank).state_dict() for rank in (0, 1)]
    for name, value in before[0].items():
        mean = (value + before[1][name]) / 2
        for rank, found in enumerate((first, second)):
            is_statistic = "running_mean" in name or "running_var" in name
            torch.testing.assert_close(
                found["network"][name], mean if is_statistic else before[rank][name]
            )


def test_a_single_process_keeps_what_it_holds() -> None:
    rows = rows_of(1)
    assert world_size() == 1
    assert gather_rows(rows) is rows
    assert sum_over_ranks(rows) is rows
    network = networks_of(0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average_batch_norm(network)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
