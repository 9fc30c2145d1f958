"""Training on PyTorch's `meta` device, where tensors have shapes and no values.

Whatever reads a value on the host raises there. So a Trainer that gets through its steps has shown
that the host waits for the device in none of them; and FLOPs are counted without computing them.
"""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pmnar.methods.measurement import rows_of
from pmnar.tasks.build import build_method
from pmnar.tasks.devices import parse_compute
from pmnar.tasks.train import load_data

META = torch.device("meta")


class MetaAccelerator(Accelerator):
    """Lightning's idea of the device: one of it, always there."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing to do."""

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        """It has none."""
        return {}

    def teardown(self) -> None:
        """Nothing to do."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """As given."""
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """The one."""
        return [META]

    @staticmethod
    def auto_device_count() -> int:
        """One."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """It is."""
        return True

    @staticmethod
    def name() -> str:
        """Its name."""
        return "meta"


class MetaStrategy(SingleDeviceStrategy):
    """One meta device. What Lightning reads there before and after a run it is told instead."""

    def __init__(self) -> None:
        super().__init__(device=META, accelerator=MetaAccelerator())

    def reduce(self, tensor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Before the first epoch: the loader's length, which must not be 0."""
        return torch.ones(())

    def teardown(self) -> None:
        """Leave the method where it is: nothing can be moved from here to the host."""


class MetaEpoch(L.Callback):
    """An epoch's steps, then an ordered pass, on the meta device.

    What a method does between epochs may read the device, once an epoch, and is left out.

    Args:
        cfg: the run's configuration; its optimiser must not be fused, which meta does not know.

    Attributes:
        steps: how many were made.
        step_flops: of the steps but the first, in which the views' tables are computed, an image;
            a multiply-add is two.
        pass_flops: of the ordered pass, an image.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.steps, self.step_flops, self.pass_flops = 0, 0.0, 0.0
        self._images, self._first = 0, 0
        data = load_data(cfg)
        method = build_method(cfg, data, parse_compute(cfg))
        nothing: Any = lambda *_: None  # noqa: E731
        method.prepare_epoch, method.on_train_epoch_end = nothing, nothing  # type: ignore[method-assign]
        trainer = L.Trainer(
            strategy=MetaStrategy(),
            devices=1,
            max_epochs=1,
            limit_val_batches=0,
            callbacks=[self],
            logger=False,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        self._counter = FlopCounterMode(display=False)
        with self._counter:
            trainer.fit(method, datamodule=data)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step."""
        self.steps += 1
        flops = self._counter.get_total_flops()
        if self.steps == 1:
            self._first = flops
        else:
            self._images += len(batch.indices)
            self.step_flops = (flops - self._first) / self._images

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Make the pass that reweighting needs."""
        with FlopCounterMode(display=False) as counter:
            pl_module.ordered_pass(lambda said, batch: rows_of(said, {}, batch))
        self.pass_flops = counter.get_total_flops() / len(pl_module.labels)
