"""The progress bar."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar as LightningBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

SHOWN = {"accuracy_first": "accuracy", "accuracy_ensemble": "ensemble", "detection_f1": "F1"}
"""Recorded names, and what the bar calls them: short, so that it fits a terminal of 80 columns."""
PERIOD = 0.5
"""Seconds between two drawings, at least; only the last one, at the end, may come sooner."""
COLOUR = "#6206E0"


class ProgressBar(LightningBar):
    """A line for the epoch at hand, with test accuracy and noise-detection F1 of the one before.

    When the run has ended it shows the last epoch's, the run's time and its steps a second.

    Lightning's own bar draws at every epoch and validation, however short, and from a thread of its
    own besides. This one draws between two steps once half a second is over, and until then does no
    more than look at the clock.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock, self.enabled = clock, True
        self.progress: Progress | None = None
        self._task = TaskID(0)
        self._label, self._total = "", 0
        self._began, self._since, self._due = 0.0, 0.0, 0.0
        self._steps = 0

    def disable(self) -> None:
        """Draw nothing from now on: Lightning asks further ranks for that."""
        self.enabled = False

    def enable(self) -> None:
        """Draw again."""
        self.enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note when the run began."""
        self._began, self._steps = self.clock(), 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """An epoch begins."""
        self._begin(_epoch(trainer, trainer.current_epoch + 1), self.total_train_batches)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, step: int
    ) -> None:
        """A step of training is done."""
        self._steps += 1
        self._go_on(step + 1)

    def on_validation_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A split's first batch begins its line."""
        if self.has_dataloader_changed(dataloader_idx):
            name, batches = self.validation_description, self.total_val_batches_current_dataloader
            if trainer.testing:
                name, batches = self.test_description, self.total_test_batches_current_dataloader
            self._begin(name, batches)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A batch is done."""
        self._go_on(batch_idx + 1)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The next validation begins a line again."""
        self.reset_dataloader_idx_tracker()

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave a last line; by now the last epoch's metrics are known."""
        if self.progress is not None:
            self._label, self._since = _epoch(trainer, trainer.current_epoch), self._began
            self._total = int(self.total_train_batches)
            self.progress.update(self._task, **self._line(self._total, self._steps))
        self._stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Leave the line as it is."""
        self._stop()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the line as it is."""
        self._stop()

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The metrics that are shown, by their short names."""
        known = trainer.progress_bar_metrics
        return {short: known[name] for name, short in SHOWN.items() if name in known}

    def _begin(self, label: str, total: float) -> None:
        self._label, self._total, self._since = label, int(total), self.clock()
        self._go_on(0)

    def _go_on(self, done: int) -> None:
        """Draw, if it is time to."""
        if not self.enabled or (now := self.clock()) < self._due:
            return
        self._due = now + PERIOD
        if self.progress is None:
            self._start(self._line(done, done))
        else:
            self.progress.update(self._task, **self._line(done, done))
            self.progress.refresh()

    def _line(self, done: int, steps: int) -> dict[str, Any]:
        """What the line says: `done` batches of its total, `steps` of them in its time."""
        seconds = self.clock() - self._since
        left = seconds / done * (self._total - done) if done else None
        shown = self.get_metrics(self.trainer, self.trainer.lightning_module)
        return {
            "description": self._label,
            "completed": done,
            "total": self._total,
            "time": f"{_clock(seconds)} • {_clock(left)}",
            "speed": f"{steps / seconds if seconds > 0 else 0:.1f}/s",
            "metrics": " ".join(f"{name} {value:.3f}" for name, value in shown.items()),
        }

    def _start(self, line: dict[str, Any]) -> None:
        self.progress = Progress(
            TextColumn("{task.description:11}"),
            BarColumn(complete_style=COLOUR, finished_style=COLOUR),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[time]}", style="dim"),
            TextColumn("{task.fields[speed]}", style="dim underline"),
            TextColumn("{task.fields[metrics]}", style="italic"),
            console=Console(),
            auto_refresh=False,
        )
        self._task = self.progress.add_task(**line)
        self.progress.start()  # draws it

    def _stop(self) -> None:
        progress, self.progress = self.progress, None
        if progress is not None:
            progress.stop()  # draws it for the last time


def _epoch(trainer: L.Trainer, number: int) -> str:
    return f"Epoch {number}/{trainer.max_epochs}"


def _clock(seconds: float | None) -> str:
    """Minutes and seconds, and hours where there are any."""
    text = "-:--:--" if seconds is None else str(timedelta(seconds=int(seconds)))
    return text.removeprefix("0:").removeprefix("-:").removeprefix("0")
