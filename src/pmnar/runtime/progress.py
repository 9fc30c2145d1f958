"""The progress bar."""

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar

SHOWN = {"accuracy_first": "accuracy", "accuracy_ensemble": "ensemble", "detection_f1": "F1"}
"""Recorded names, and what the bar calls them: short, so that it fits a terminal of 80 columns."""


class ProgressBar(RichProgressBar):
    """Lightning's rich bar, with test accuracy and noise-detection F1 of the last epoch."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)

    def get_metrics(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The metrics that are shown, by their short names."""
        known = trainer.progress_bar_metrics
        return {short: known[name] for name, short in SHOWN.items() if name in known}
