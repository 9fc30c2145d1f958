"""How long an epoch takes on this machine, measured before a run begins and while it does."""

import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, OmegaConf

from pmnar.data import NoisyDataModule
from pmnar.methods import NoisyLabelMethod
from pmnar.runtime.compute import Compute
from pmnar.tasks.build import build_method
from pmnar.tasks.compute import SetUpProcess
from pmnar.tasks.console import say
from pmnar.tasks.trainer import build_trainer

MEASURED = 8
"""Steps of an epoch that are measured."""
SETTLING = 2
"""Steps at the start of a run that tell nothing: memory is taken, libraries choose."""
PATIENCE = 10.0
"""Seconds of a run's steps that tell enough, however few those are."""
LONG = 3600.0
"""Seconds of a run from which on it says so."""


class Stopwatch(Callback):
    """Measures steps, and what comes between epochs.

    Attributes:
        steps: of each epoch the seconds of its steps.
        between: of each epoch the seconds from its last step to the next epoch: tests, passes.
    """

    def __init__(self) -> None:
        self.steps: list[list[float]] = []
        self.between: list[float] = []
        self._last = 0.0

    def _lap(self) -> float:
        now = time.perf_counter()
        taken, self._last = now - self._last, now
        return taken

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The epoch before has come to its end."""
        if self.steps:
            self.between.append(self._lap())
        self._lap()
        self.steps.append([])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, step: int
    ) -> None:
        """A step is done."""
        self.steps[-1].append(self._lap())

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last epoch, with its checkpoint."""
        self.between.append(self._lap())


def seconds_of_an_epoch(
    cfg: DictConfig,
    data: NoisyDataModule,
    compute: Compute,
    callbacks: Any,
    steps: int,
    warm_up: float,
) -> float:
    """What an epoch takes on average, by a few steps of two epochs of a method that is thrown away.

    With all that stands between two epochs, written into a folder that is removed. No generator
    of random numbers is moved by it.

    Args:
        cfg: the configuration; its method has one epoch of warm-up here, if any.
        data: the data module, set up.
        compute: what to compute with.
        callbacks: gives the run's own, for a folder.
        steps: of an epoch.
        warm_up: the share of the epochs that belong to the method's warm-up.
    """
    short = cfg.copy()
    changes = {"max_epochs": 2, "limit_train_batches": MEASURED, "enable_progress_bar": False}
    for key, value in changes.items():
        OmegaConf.update(short, f"trainer.{key}", value)
    if short.method.get("warmup_epochs"):
        short.method.warmup_epochs = 1
    short.logger = {"name": "none"}
    watch = Stopwatch()
    with _leaving_no_trace() as folder:
        method = build_method(short, data, compute)
        all_callbacks = [SetUpProcess(compute.threads), watch, *callbacks(short, data, folder)]
        build_trainer(short, compute, folder, all_callbacks).fit(method, datamodule=data)
    first, second = (median(taken) for taken in watch.steps)
    if not short.method.get("warmup_epochs"):
        warm_up = 0.0  # the second is measured without what begins slowly
    return steps * (warm_up * first + (1 - warm_up) * second) + min(watch.between)


@contextmanager
def _leaving_no_trace() -> Iterator[Path]:
    """A folder, which is removed; warnings are for the run itself, as are random numbers."""
    with isolate_rng(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        yield Path(folder)


class SayLength(Callback):
    """Says at the start of a run that it will take over an hour, if it will.

    By its first steps; what is trained is not touched.

    Args:
        advice: what makes it shorter.
    """

    def __init__(self, advice: str) -> None:
        self.advice = advice
        self._steps, self._taken, self._last = -SETTLING, 0.0, 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Steps are measured, not what comes between epochs."""
        self._last = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, step: int
    ) -> None:
        """A step is done; the first rank looks at the clock until it knows."""
        if not trainer.is_global_zero or self._steps >= MEASURED:
            return
        now = time.perf_counter()
        taken, self._last = now - self._last, now
        self._steps += 1
        if self._steps > 0:
            self._taken += taken
            if self._steps == MEASURED or self._taken > PATIENCE:
                self._tell(trainer, pl_module, self._taken / self._steps)
                self._steps = MEASURED

    def _tell(self, trainer: L.Trainer, method: L.LightningModule, step: float) -> None:
        assert isinstance(method, NoisyLabelMethod)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        steps = int(trainer.num_training_batches)
        epoch = step * steps * (1 + share_of_passes(method, data))
        left = (trainer.max_epochs or 0) - trainer.current_epoch
        if epoch * left > LONG:
            say(
                f"long     this run will take about {duration(epoch * left)} on this machine "
                f"({duration(epoch)} an epoch × {left:,}); {self.advice}"
            )


def share_of_passes(method: NoisyLabelMethod, data: Any) -> float:
    """What the ordered pass and the tests take, over what an epoch's steps take.

    An image's forward is a third of its training, in each of the views.
    """
    images = len(data.splits["train"])
    tested = sum(len(data.splits[name]) for name in data.test_names)
    return (images + tested) / images / (3 * len(method.views))


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, as people say them."""
    if seconds < 99.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} minutes"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours / 24:.1f} days"
