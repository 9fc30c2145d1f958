"""How a run computes: set up in every process, and said at its start."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from pmnar.data import NoisyDataModule
from pmnar.data.residence import free_bytes
from pmnar.methods import NoisyLabelMethod
from pmnar.names import TRAIN
from pmnar.runtime.process import give_freed_memory_back, keep_freed_memory
from pmnar.tasks.console import say

PLACES = {
    "device": "on the device",
    "host": "in memory of the host",
    "stream": "streamed",
}


class SetUpProcess(Callback):
    """Sets up what a process computes with, also in a rank that was spawned.

    Args:
        threads: of PyTorch's operations; None leaves them as they are.
    """

    def __init__(self, threads: int | None) -> None:
        self.threads = threads

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Before anything is placed or computed."""
        set_up_process(self.threads)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the images where they are to live; from then on keep what is freed.

        In this order: what they were loaded into goes back to the system.
        """
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, NoisyDataModule) and data.images.place() == "device":
            data.images.hold(TRAIN, trainer.strategy.root_device)
        keep_freed_memory()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After whatever came between epochs."""
        give_freed_memory_back()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After an epoch's steps."""
        give_freed_memory_back()


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
    place, size = data.images.place(), f"{data.images.bytes_of() / 1e6:,.1f} MB"
    if place == "device":
        size += f" of {free_bytes(device) / 1e6:,.0f} free"
    return (
        f"{count}{name}, {trainer.precision}, compile {method.networks.compiled_by}, "
        f"{data.splits[TRAIN].noun} {PLACES[place]} ({size})"
    )


def set_up_process(threads: int | None) -> None:
    """What holds for a process, and a spawned one does not get from its parent."""
    if threads is not None:
        torch.set_num_threads(threads)
    # Deterministic algorithms would write NaN into all new memory, to show who reads it unwritten.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
