"""One process and several, for tests that compare them."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor


def forked(world: int) -> dict[str, Any]:
    """The Trainer's settings for so many processes, forked from this one."""
    if world == 1:
        return {}
    strategy = DDPStrategy(broadcast_buffers=False, start_method="fork")
    return {"devices": world, "strategy": strategy}


def interleaved(parts: list[Tensor]) -> Tensor:
    """The global batch that the ranks' shares `r, r + world, …` came from."""
    whole = torch.empty(sum(map(len, parts)), dtype=parts[0].dtype)
    for rank, part in enumerate(parts):
        whole[rank :: len(parts)] = part
    return whole


class Gradients(Callback):
    """Writes each step's gradients, and in the end every buffer, in each rank."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[Tensor] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        torch.set_num_threads(1)  # Lightning gives several processes other numbers than one
        self.steps = []

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any
    ) -> None:
        grads = [p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]
        self.steps.append(torch.cat(grads))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        found = {"steps": self.steps, "buffers": dict(pl_module.named_buffers())}
        torch.save(found, self.folder / f"{trainer.world_size}-{trainer.global_rank}.pt")
