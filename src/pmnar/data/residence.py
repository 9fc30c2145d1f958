"""Where images live while a run needs them, and how a batch is gathered from there."""

import os
from pathlib import Path

import torch
from torch import Tensor

from pmnar.errors import InputError

PLACES = ("device", "host", "stream")
RESIDENT = ("auto", *PLACES)
BLOCK = 4096
"""Images moved at a time, so that a move needs little room beside the images."""


def choose_place(wanted: str, needed: int, device: torch.device) -> str:
    """Where `needed` bytes of images are to live: `device`, `host` or `stream`.

    `auto` is the device where they fill less than a quarter of what is free there; else, for a
    device with memory of its own, the host where they fill less than half of what is free; else
    they are streamed.
    """
    if wanted != "auto":
        return wanted
    if needed < free_bytes(device) / 4:
        return "device"
    if device.type != "cpu" and needed < free_bytes(torch.device("cpu")) / 2:
        return "host"
    return "stream"


def check_resident(resident: str) -> None:
    """Raise `InputError` unless it is one of `RESIDENT`."""
    if resident not in RESIDENT:
        raise InputError(f"dataset.resident must be one of {', '.join(RESIDENT)}, got {resident}")


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on the device; of a CPU, by this process (its control group)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    known = Path("/proc/meminfo")
    if known.is_file():
        lines = dict(line.split(":", 1) for line in known.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such group, or no limit
        return free


class ResidentImages:
    """Images on a device, with their padding around them once and for all.

    Args:
        images: uint8 `[N, C, H, W]`.
        padding: pixels of zeros on every side.
        device: where to.

    Attributes:
        padded: uint8 `[N, C, H + 2·padding, W + 2·padding]`.
        images: a view of it without the padding, uint8 `[N, C, H, W]`.
    """

    def __init__(self, images: Tensor, padding: int, device: torch.device) -> None:
        self.padding = padding
        if padding == 0:
            self.padded = images.to(device)
        else:
            size, channels, *sides = images.shape
            shape = (size, channels, *(side + 2 * padding for side in sides))
            self.padded = torch.zeros(shape, dtype=images.dtype, device=device)
            inner = trimmed(self.padded, padding)
            for start in range(0, size, BLOCK):
                inner[start : start + BLOCK] = images[start : start + BLOCK].to(device)
        self.images = trimmed(self.padded, padding)

    def gather(self, index: Tensor) -> Tensor:
        """The padded images at `index`, int64 `[B]` on the device."""
        return self.padded.index_select(0, index)


def trimmed(images: Tensor, border: int) -> Tensor:
    """A view of images `[B, C, H, W]` without `border` pixels on every side."""
    return images[..., border:-border, border:-border] if border else images
