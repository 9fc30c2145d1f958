"""Where images live while a run needs them, and how a batch is gathered from there."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from pmnar.errors import InputError

PLACES = ("device", "host", "stream")
RESIDENT = ("auto", *PLACES)
BLOCK = 4096
"""Images moved at a time, so that a move needs little room beside the images."""


def choose_place(wanted: str, needed: int, device: torch.device, sharers: int = 1) -> str:
    """Where `needed` bytes of images are to live: `device`, `host` or `stream`.

    `auto` is the device where they fill less than a quarter of what is free there; else, for a
    device with memory of its own, the host where they fill less than half of what is free; else
    they are streamed. So many processes as `sharers` share the host's memory.
    """
    if wanted != "auto":
        return wanted
    of_host = free_bytes(torch.device("cpu")) / sharers
    free = of_host if device.type == "cpu" else free_bytes(device)
    if needed < free / 4:
        return "device"
    return "host" if device.type != "cpu" and needed < of_host / 2 else "stream"


def check_resident(resident: str) -> None:
    """Raise `InputError` unless it is one of `RESIDENT`."""
    if resident not in RESIDENT:
        raise InputError(f"data.resident must be one of {', '.join(RESIDENT)}, got {resident}")


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on the device; of a CPU, by this process and its group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    known = Path("/proc/meminfo")
    if known.is_file():
        lines = dict(line.split(":", 1) for line in known.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    return min([free, *_left_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _left_in_groups(membership: Path, root: Path) -> Iterator[int]:
    """What the limits of this process's control groups, of either version, leave it, in bytes."""
    lines = membership.read_text().splitlines() if membership.is_file() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            names, top = ("memory.max", "memory.current", "inactive_file"), root
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            top = root / "memory"
        else:
            continue
        group = top / path.lstrip("/")
        below = [place for place in (group, *group.parents) if top in place.parents]
        # In a container the path may be the host's, and what is at the top is the container's.
        for place in (*below, top):
            try:
                limit, used = (int((place / name).read_text()) for name in names[:2])
                counted = dict(line.split() for line in (place / "memory.stat").open())
            except (OSError, ValueError):  # no such group, or no limit
                continue
            # Files read lately count as used, and make way.
            yield max(limit - used + int(counted.get(names[2], 0)), 0)


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
