"""The callback that writes a run's tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from pmnar.callbacks.classes_table import ClassesTable, class_rows, move_older_columns
from pmnar.callbacks.detection import as_method
from pmnar.callbacks.metrics_table import AppendedTable, Row, read_rows, summarise
from pmnar.callbacks.progress import SHOWN
from pmnar.detection import (
    class_counts,
    detection_metrics,
    find_suspects,
    health_of,
    samples_table,
    write_samples,
    write_suspects,
)
from pmnar.files import write_text
from pmnar.health import is_healthy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.names import suffixes
from pmnar.runtime.checkpoint import finished_epochs
from pmnar.runtime.facts import hardware, versions
from pmnar.runtime.quiet import quieten

METRICS = Path("metrics.csv")


class RunTables(Checkpoint):
    """Writes `metrics.csv` and `classes.csv` each epoch, and at the end the rest.

    That is `samples.parquet`, `suspects.csv`, a method's `matrices` and `summary.json`.

    Args:
        folder: the run folder.
        about: what `summary.json` says of the run beside its numbers (names, seeds, noise).
        samples: further columns of `samples.parquet`: `true` `[N]`, `index` `[N]`, `paths`; and
            the digest `images`.
        threshold: of the detection.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        samples: Mapping[str, Any],
        threshold: float = 0.5,
    ) -> None:
        self.folder, self.about, self.threshold = folder, dict(about), threshold
        self.samples = dict(samples)
        self.rows: list[Row] = []
        self._metrics, self._classes = AppendedTable(folder / METRICS), ClassesTable(folder)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Silence in a spawned rank what is silenced here, before anything is said there."""
        self.__dict__.update(state)
        quieten()

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the rows of a resumed run up to its checkpoint."""
        done = finished_epochs(checkpoint)
        if trainer.is_global_zero:
            move_older_columns(self.folder, as_method(pl_module).class_names)
        self.rows = [r for r in read_rows(self.folder / METRICS) if r["epoch"] <= done]
        for table in (self._metrics, self._classes):
            table.go_back(done)
        if trainer.is_global_zero and len(self.rows) < done:
            rank_zero_warn(
                f"metrics.csv has {len(self.rows)} of the {done} epochs that are behind this run: "
                "the best, the means and the seconds will be of those alone"
            )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what a run lacks that was killed between its last checkpoint and its end.

        Or one that goes back to an older checkpoint, and ends there.
        """
        if self.rows and self.rows[-1]["epoch"] == trainer.max_epochs:
            if trainer.is_global_zero:
                self._metrics.cut()
                self._classes.cut()
            self._describe(trainer, as_method(pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's row, and hand it to the loggers and the progress bar."""
        method = as_method(pl_module)
        self.rows.append(dict(method.record))
        for name, value in method.record.items():
            if name != "epoch":
                on_bar = name in SHOWN
                pl_module.log(name, value, prog_bar=on_bar, rank_zero_only=True, batch_size=1)
        if trainer.is_global_zero:
            # A kill in between does no harm: a resumed run goes by its checkpoint, made after both.
            epoch = trainer.current_epoch + 1
            self._metrics.append(self.rows[-1:])
            self._classes.append(class_rows(epoch, method.by_class, method.class_names))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what describes the finished run."""
        if self.rows and not trainer.interrupted:
            self._describe(trainer, as_method(pl_module))

    def _describe(self, trainer: L.Trainer, method: NoisyLabelMethod) -> None:
        """All but `summary.json`, then that, whose presence says that the run is finished."""
        # All ranks: there may be a pass in either.
        measured = method.measure()
        scores = {name: score.cpu() for name, score in method.scores().items()}
        if not trainer.is_global_zero:
            return
        confidence, given = measured.confidence["first"].cpu(), method.labels.cpu()
        prediction = measured.prediction["first"].cpu()
        table = samples_table(
            given=given,
            confidence=confidence,
            suggested=prediction,
            suggested_confidence=measured.top["first"].cpu(),
            class_names=method.class_names,
            weight=None if method.weights is None else method.weights.cpu(),
            threshold=self.threshold,
            scores=scores,
            order=method.suspects_by,
            **self.samples,
        )
        write_samples(self.folder / "samples.parquet", table)
        write_suspects(self.folder / "suspects.csv", table)
        for name, matrix in method.matrices().items():
            write_text(self.folder / f"{name}.csv", matrix_text(matrix))
        found = self._found(confidence, prediction, given, measured.top["first"].cpu(), method)
        found |= self.summary(method) | found  # first what is found: whether to believe the rest
        write_text(self.folder / "summary.json", json.dumps(found, indent=2) + "\n")

    def _found(
        self,
        confidence: Tensor,
        prediction: Tensor,
        given: Tensor,
        certainty: Tensor,
        method: NoisyLabelMethod,
    ) -> dict[str, Any]:
        """What the final networks say of the training samples."""
        counts, true = class_counts(prediction, given, method.num_classes), self.samples.get("true")
        suspects = find_suspects(confidence, given, prediction, self.threshold)
        changed = suspects.mislabelled
        health = health_of(counts, method.class_names, given, prediction, changed, certainty, true)
        return {
            **health,
            **({} if is_healthy(health) else {"try": method.remedy}),
            "detection": detection_metrics(confidence, given, true, self.threshold),
            **suspects.counts,
        }

    def summary(self, method: NoisyLabelMethod) -> dict[str, Any]:
        """The numbers of the run's epochs, with what they must be published with."""
        last = self.rows[-1]
        seconds = {
            "total": sum(row["seconds"] for row in self.rows),
            "per_epoch": sum(row["seconds"] for row in self.rows) / len(self.rows),
            "reweighting": sum(row["seconds_reweighting"] for row in self.rows),
        }
        return self.about | {
            **{
                f"accuracy{suffix}": _accuracies(self.rows, method.output_names, suffix)
                for suffix in suffixes(method.test_names).values()
            },
            "recall_per_class": self._classes.summaries("recall", method.class_names),
            "weight_per_class": self._classes.summaries("weight", method.class_names),
            "epochs": int(last["epoch"]),
            "events": dict(method.events()),
            **({"matrices": list(matrices)} if (matrices := method.matrices()) else {}),
            "parameters": sum(p.numel() for p in method.networks["first"].parameters()),
            "seconds": seconds,
            "compute": {
                "device": method.device.type,
                "devices": method.trainer.world_size,
                "precision": str(method.trainer.precision),
                "compile": method.networks.compiled_by,
                "channels_last": method.networks.channels_last,
                "threads": torch.get_num_threads(),
            },
            "versions": versions(),
            "hardware": hardware(),
        }


def matrix_text(matrix: Tensor) -> str:
    """A matrix `[K, K]` as lines of numbers, to the bit, as `method.matrix` reads them."""
    rows = [",".join(map(repr, row)) for row in matrix.double().tolist()]
    return "\n".join(["# row: true class, column: given label, both by number", *rows, ""])


def _accuracies(
    rows: Sequence[Row], outputs: Sequence[str], suffix: str
) -> dict[str, dict[str, float]]:
    return {name: summarise(rows, f"accuracy_{name}{suffix}") for name in outputs}
