"""How a run computes: said at its start."""

import ctypes
import platform
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from pmnar.data import NoisyDataModule
from pmnar.data.residence import free_bytes
from pmnar.methods import NoisyLabelMethod
from pmnar.tasks.build import choose_accelerator, plain, planned_world_size
from pmnar.tasks.console import say

PLACES = {
    "device": "images on the device",
    "host": "images in memory of the host",
    "stream": "images streamed from the disk",
}
THREADS = torch.get_num_threads()
"""PyTorch's own choice, for a job of a sweep that follows one with another."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
LARGEST_THRESHOLD = 2**25
"""The most that glibc takes for `M_MMAP_THRESHOLD`."""


def choose_threads(cfg: DictConfig) -> int:
    """Threads of PyTorch's operations: `threads`, or PyTorch's own choice.

    Two networks in one process share that choice out: each takes a thread of its own with half.
    """
    settings = plain(cfg.trainer)
    side_by_side = cfg.method.get("networks") == 2 and planned_world_size(settings) == 1
    chosen: int | None = cfg.threads
    if chosen is None:
        chosen = max(THREADS // 2, 1) if side_by_side and _on_cpu(settings) else THREADS
    return chosen


def _on_cpu(settings: dict[str, Any]) -> bool:
    return choose_accelerator(settings["accelerator"]) == "cpu"


class SayCompute(Callback):
    """Says which device, precision and compilation were chosen, and where the images live."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """One line, by the first rank."""
        assert isinstance(pl_module, NoisyLabelMethod)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if trainer.is_global_zero and isinstance(data, NoisyDataModule):
            say(f"compute  {describe(trainer, pl_module, data)}")


def describe(trainer: L.Trainer, method: NoisyLabelMethod, data: NoisyDataModule) -> str:
    """Device, precision, compilation, and where the images live."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    count = f"{trainer.world_size} × " if trainer.world_size > 1 else ""
    place, size = data.place("train"), f"{data.bytes_of('train') / 1e6:,.1f} MB"
    if place == "device":
        size += f" of {free_bytes(device) / 1e6:,.0f} free"
    return (
        f"{count}{name}, {trainer.precision}, compile {method.compiled_by}, "
        f"{PLACES[place]} ({size})"
    )


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, instead of asking the system for it anew each step.

    A step allocates and frees the same sizes again and again; where every free of a large block
    goes back to the system, its pages are zeroed and mapped anew in each step.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
    libc.mallopt(M_TRIM_THRESHOLD, 2**30)
