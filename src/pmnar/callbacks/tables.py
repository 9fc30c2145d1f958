"""The callback that writes a run's tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_warn

from pmnar.callbacks.detection import as_method
from pmnar.callbacks.metrics_table import Row, read_rows, summarise, write_rows
from pmnar.callbacks.progress import SHOWN
from pmnar.detection import samples_table, write_samples
from pmnar.files import write_text
from pmnar.methods.base import NoisyLabelMethod
from pmnar.runtime.checkpoint import finished_epochs
from pmnar.runtime.facts import hardware, versions
from pmnar.runtime.quiet import quieten

PER_CLASS = ("weight_class_", "recall_class_")


class RunTables(Checkpoint):
    """Writes `metrics.csv` each epoch and `samples.parquet` and `summary.json` at the end.

    Args:
        folder: the run folder.
        facts: what `summary.json` holds beyond the figures (names, seeds, noise).
        samples: further columns of `samples.parquet`: `true` `[N]`, `index` `[N]`, `paths`.
        threshold: of the detection.
    """

    def __init__(
        self,
        folder: Path,
        facts: Mapping[str, Any],
        samples: Mapping[str, Any],
        threshold: float = 0.5,
    ) -> None:
        self.folder, self.facts, self.threshold = folder, dict(facts), threshold
        self.samples = dict(samples)
        self.rows: list[Row] = []

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Silence in a spawned rank what is silenced here, before anything is said there."""
        self.__dict__.update(state)
        quieten()

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the rows of a resumed run up to its checkpoint."""
        done = finished_epochs(checkpoint)
        self.rows = [r for r in read_rows(self.folder / "metrics.csv") if r["epoch"] <= done]
        if trainer.is_global_zero and len(self.rows) < done:
            rank_zero_warn(
                f"metrics.csv has {len(self.rows)} of the {done} epochs that are behind this run: "
                "the best, the means and the seconds will be of those alone"
            )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what a run lacks that was killed between its last checkpoint and its end."""
        if self.rows and self.rows[-1]["epoch"] == trainer.max_epochs:
            self._describe(trainer, as_method(pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's row, and hand it to the loggers and the progress bar."""
        method = as_method(pl_module)
        self.rows.append(dict(method.record))
        for name, value in method.record.items():
            if name != "epoch" and not name.startswith(PER_CLASS):
                on_bar = name in SHOWN
                pl_module.log(name, value, prog_bar=on_bar, rank_zero_only=True, batch_size=1)
        if trainer.is_global_zero:
            write_rows(self.folder / "metrics.csv", self.rows)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what describes the finished run."""
        if self.rows and not trainer.interrupted:
            self._describe(trainer, as_method(pl_module))

    def _describe(self, trainer: L.Trainer, method: NoisyLabelMethod) -> None:
        """`samples.parquet`, then `summary.json`, whose presence says that the run is finished."""
        measured = {name: value.cpu() for name, value in method.measure().items()}
        if not trainer.is_global_zero:
            return
        table = samples_table(
            given=method.labels.cpu(),
            confidence=measured["confidence_first"],
            suggested=measured["prediction_first"],
            suggested_confidence=measured["top_first"],
            class_names=method.class_names,
            weight=None if method.weights is None else method.weights.cpu(),
            threshold=self.threshold,
            **self.samples,
        )
        write_samples(self.folder / "samples.parquet", table)
        write_text(self.folder / "summary.json", json.dumps(self.summary(method), indent=2) + "\n")

    def summary(self, method: NoisyLabelMethod) -> dict[str, Any]:
        """The figures of the run, with what they must be published with."""
        last = self.rows[-1]
        seconds = {
            "total": sum(row["seconds"] for row in self.rows),
            "per_epoch": sum(row["seconds"] for row in self.rows) / len(self.rows),
            "reweighting": sum(row["seconds_reweighting"] for row in self.rows),
        }
        detection = {k.removeprefix("detection_"): v for k, v in last.items() if "detection_" in k}
        return self.facts | {
            "accuracy": _accuracies(self.rows, method.output_names, ""),
            **{
                f"accuracy_{split}": _accuracies(self.rows, method.output_names, f"_{split}")
                for split in method.test_names[1:]
            },
            "recall_per_class": _of_each(self.rows, "recall_class_", method.class_names),
            "weight_per_class": _of_each(self.rows, "weight_class_", method.class_names),
            "detection": {"threshold": self.threshold, **detection},
            "epochs": int(last["epoch"]),
            "parameters": sum(p.numel() for p in method.networks["first"].parameters()),
            "seconds": seconds,
            "compute": {
                "device": method.device.type,
                "devices": method.trainer.world_size,
                "precision": str(method.trainer.precision),
                "compile": method.compiled_by,
                "channels_last": method.networks.channels_last,
                "threads": torch.get_num_threads(),
            },
            "versions": versions(),
            "hardware": hardware(),
        }


def _accuracies(
    rows: Sequence[Row], outputs: Sequence[str], suffix: str
) -> dict[str, dict[str, float]]:
    return {name: summarise(rows, f"accuracy_{name}{suffix}") for name in outputs}


def _of_each(
    rows: Sequence[Row], prefix: str, class_names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Best, last and mean of last 10 of a per-class column, by class name; empty without it."""
    found = (summarise(rows, f"{prefix}{k}") for k in range(len(class_names)))
    return {name: values for name, values in zip(class_names, found, strict=True) if values}
