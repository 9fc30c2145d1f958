"""Where images live."""

import pytest
import torch
from toy import make_data

from pmnar.data.residence import ResidentImages, choose_place, free_bytes, trimmed

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


def test_free_memory_is_some_and_not_more_than_there_is() -> None:
    import os

    assert 0 < free_bytes(CPU) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
    (held,) = data._images.values()
    images = data.splits["train"].images
    assert torch.equal(images, before)
    assert images.untyped_storage().data_ptr() == held.padded.untyped_storage().data_ptr()
    assert data.bytes_of("train") == held.padded.nbytes == 60 * 10 * 10
