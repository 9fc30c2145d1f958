"""What a run computes with: parsed once, and handed on."""

from dataclasses import dataclass
from typing import Any

from pmnar.errors import InputError

COMPILE = ("auto", "off", "default", "reduce-overhead", "max-autotune")
"""Modes of `torch.compile`; `auto` is the device's fastest."""


@dataclass(frozen=True)
class Compute:
    """How a run computes. Nothing of it changes what is learned, but for rounding.

    Attributes:
        compile: mode of `torch.compile`, one of `COMPILE`.
        channels_last: images in memory pixel by pixel: true, false, or `auto`, on CUDA alone.
        fused_forward: one forward of all views together, BatchNorm split per view.
        two_threads: whether two networks may take a thread each; None: where the threads suffice.
        threads: of PyTorch's operations in a process; None leaves them as they are.
        precision: Lightning's name of it, never `auto`.
        accelerator: `cpu`, `cuda` or `gpu`, never `auto`.
        devices: a number of them, `auto` (on CUDA: all there are), or a list of GPUs' numbers.
        num_nodes: machines.
        strategy: how several ranks are started: `auto`, `ddp`, `ddp_spawn` or `ddp_fork`.
    """

    compile: str = "off"
    channels_last: bool | str = "auto"
    fused_forward: bool = False
    two_threads: bool | None = None
    threads: int | None = None
    precision: str = "32-true"
    accelerator: str = "cpu"
    devices: int | str | tuple[int, ...] = 1
    num_nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        """Check what the method is told.

        Raises:
            InputError: a setting is unknown.
        """
        # YAML reads an unquoted off as false.
        if self.compile not in COMPILE:
            allowed = ", ".join(COMPILE)
            raise InputError(f"compute.compile must be one of {allowed}, got {self.compile}")
        if self.channels_last not in ("auto", True, False):
            raise InputError(
                f"compute.channels_last must be auto, true or false, got {self.channels_last}"
            )

    @property
    def world_size(self) -> int:
        """Processes that will train together, 2 where Lightning is to find out."""
        return planned_world_size(self.devices, self.num_nodes)


def planned_world_size(devices: Any, num_nodes: int) -> int:
    """Nodes times devices, 2 devices where Lightning is to find out how many there are."""
    count = len(devices) if isinstance(devices, list | tuple) else devices
    return num_nodes * (int(count) if str(count).isdigit() else 2)
