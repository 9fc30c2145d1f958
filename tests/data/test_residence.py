"""Where images live."""

from pathlib import Path

import pytest
import torch
from toy import make_data

from pmnar.data.residence import (
    ResidentImages,
    _left_in_groups,
    choose_place,
    free_bytes,
    trimmed,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("wanted", ["device", "host", "stream"])
def test_what_is_asked_for_is_done(wanted: str) -> None:
    assert choose_place(wanted, 2**60, CPU) == wanted


@pytest.mark.parametrize(
    ("needed", "on_cuda", "on_cpu"),
    [(0, "device", "device"), (30, "host", "stream"), (60, "stream", "stream")],
)
def test_auto_goes_by_free_memory(
    monkeypatch: pytest.MonkeyPatch, needed: int, on_cuda: str, on_cpu: str
) -> None:
    monkeypatch.setattr("pmnar.data.residence.free_bytes", lambda device: 100)
    assert choose_place("auto", needed, torch.device("cuda", 0)) == on_cuda
    assert choose_place("auto", needed, CPU) == on_cpu
    assert choose_place("auto", needed // 4, CPU, sharers=4) == on_cpu


def test_free_memory_is_some_and_not_more_than_there_is() -> None:
    import os

    assert 0 < free_bytes(CPU) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_tightest_limit_of_the_control_groups_counts(tmp_path: Path) -> None:
    """A job's memory is not the machine's: in groups of version 2, and of version 1."""
    membership, root = tmp_path / "membership", tmp_path / "root"
    membership.write_text("9:cpu:/\n4:cpu,memory:/job/7\n0::/slurm/job7/step\n")
    limits = {
        "slurm/job7": ("memory.max", "memory.current", "inactive_file", 1000, 400, 100),
        "slurm": ("memory.max", "memory.current", "inactive_file", "max", 900, 0),
        "memory/job": (
            *("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            *(500, 600, 50),
        ),
    }
    for group, (limit, usage, inactive, most, used, files) in limits.items():
        (root / group).mkdir(parents=True, exist_ok=True)
        (root / group / limit).write_text(f"{most}\n")
        (root / group / usage).write_text(f"{used}\n")
        (root / group / "memory.stat").write_text(f"anon 3\n{inactive} {files}\n")
    assert sorted(_left_in_groups(membership, root)) == [0, 700]
    assert list(_left_in_groups(tmp_path / "none", root)) == []


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_images_are_padded_once_and_seen_without(padding: int) -> None:
    images = torch.randint(256, (5000, 1, 6, 7), dtype=torch.uint8)
    held = ResidentImages(images, padding, CPU)
    expected = torch.nn.functional.pad(images, (padding,) * 4)
    assert torch.equal(held.padded, expected)
    assert torch.equal(held.images, images)
    assert held.images.data_ptr() >= held.padded.data_ptr()
    index = torch.tensor([4999, 0, 7])
    assert torch.equal(held.gather(index), expected[index])


def test_a_border_is_trimmed_to_a_view() -> None:
    images = torch.rand(2, 1, 8, 8)
    assert trimmed(images, 0) is images
    assert torch.equal(trimmed(images, 3), images[:, :, 3:5, 3:5])


def test_on_a_cpu_the_images_are_in_memory_once() -> None:
    data = make_data(resident="device")
    before = data.splits["train"].images.clone()
    next(iter(data.ordered_batches(CPU)))
    (held,) = data.images._resident.values()
    images = data.splits["train"].images
    assert torch.equal(images, before)
    assert images.untyped_storage().data_ptr() == held.padded.untyped_storage().data_ptr()
    assert data.images.bytes_of("train") == held.padded.nbytes == 60 * 10 * 10
