"""Where and how much `benchmarks/gpu.py` measures, and how a call is timed there."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from omegaconf import DictConfig

from benchmarks.runs import RESNET, configuration
from pmnar.data.batches import Batch

N = 50_000
"""CIFAR-10's training images, whose epoch the shares are of."""


class Sizes(NamedTuple):
    """How much is measured: on a GPU, or to see that all of it runs."""

    batch: int = 128
    samples: int = N
    passes: tuple[int, ...] = (512, 1024, 2048)
    warm_up: int = 15
    windows: int = 7
    steps: int = 30
    loop_samples: int = 12_800
    rounds: int = 5
    matrix: int = 8192
    tiny: bool = False


DRY = Sizes(4, 16, (8,), 1, 1, 2, 8, 1, 64, True)


class Place(NamedTuple):
    """Where and how much is measured.

    Attributes:
        device: `cuda` or `cpu`.
        runs: the folder for the folders of real runs.
        data_dir: where CIFAR-10 is.
        minutes: after which a whole run stops itself.
        overrides: of every run, before a variant's own.
    """

    device: str
    sizes: Sizes
    runs: Path
    data_dir: str = "data"
    minutes: float = 9.0
    overrides: tuple[str, ...] = ()

    def configuration(self, *overrides: str, samples: int | None = None) -> DictConfig:
        """PMNAR with PreAct ResNet-18 on made-up images of CIFAR's shape."""
        return configuration(
            *(*RESNET, f"trainer.accelerator={self.device}", "logger=none"),
            *(f"data.batch_size={self.sizes.batch}", *self.overrides, *overrides),
            images={"samples": samples or self.sizes.samples, "test": 2 * self.sizes.batch},
            tiny=self.sizes.tiny,
        )

    def synchronize(self) -> None:
        """Wait for what the device was asked to do."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], object], steps: int | None = None) -> float:
        """A call's seconds: the median over windows of `steps` calls, the device awaited."""
        sizes = self.sizes
        for _ in range(sizes.warm_up):
            run()
        found, count = [], steps or sizes.steps
        for _ in range(sizes.windows):
            self.synchronize()
            start = time.perf_counter()
            for _ in range(count):
                run()
            self.synchronize()
            found.append((time.perf_counter() - start) / count)
        return statistics.median(found)


def batches(trainer: L.Trainer, place: Place, count: int = 4) -> list[Batch]:
    """The first training batches, on the device."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return [data.on_after_batch_transfer(request, 0) for request in requests(data, place, count)]


def requests(data: Any, place: Place, count: int) -> Iterator[Any]:
    """The first requests for batches, their indices on the device."""
    for request in itertools.islice(data.shuffled(lambda: 0), count):
        yield request._replace(indices=request.indices.to(place.device))
