"""What is done with networks without training them: the ordered pass, prediction, testing."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from pmnar.data.batches import Batch, rank_block
from pmnar.errors import NonFiniteLossError
from pmnar.methods.measurement import Measurement, Outputs, rows_of, with_ensemble
from pmnar.methods.networks import Networks
from pmnar.methods.recall import ClassRecall
from pmnar.methods.setting import Setting
from pmnar.names import suffixes
from pmnar.networks.statistics import evaluating
from pmnar.runtime import facts
from pmnar.runtime.gather import average_batch_norm, exchange_blocks

Visit = Callable[[Outputs, Batch], dict[str, Tensor]]


class OrderedData(Protocol):
    """What a method asks of the data module beyond Lightning's loaders.

    Attributes:
        eval_batch_size: samples in an ordered batch; with the ranks' number, who visits which.
    """

    eval_batch_size: int

    def ordered_batches(self, device: torch.device, rank: int, world: int) -> Iterable[Batch]:
        """A rank's `rank_block` of the training set, in order, without augmentation."""


class NetworksModule(L.LightningModule):
    """One or two networks that predict, are tested, and pass over the training set in order.

    Args:
        networks: by name.
        setting: what all methods share.

    Attributes:
        record: the numbers of the epoch at hand, by name.
        by_class: its numbers of each class, `[K]`, by name; NaN for a class that has none.
        measurement: what `measure` gave for the networks as they are; None after training.
    """

    labels: Tensor
    needs_features: bool = False
    """Whether the ordered pass is to tell the networks' features."""

    def __init__(self, networks: Networks, setting: Setting) -> None:
        super().__init__()
        self.networks, self.compute = networks, setting.compute
        self.class_names = tuple(setting.class_names)
        self.num_classes = len(self.class_names)
        self.register_buffer("labels", setting.labels.clone())
        self.test_names = setting.test_names
        self.metrics = nn.ModuleDict({name: self._test_metrics() for name in self.test_names})
        self.record: dict[str, float] = {}
        self.by_class: dict[str, Tensor] = {}
        self.measurement: Measurement | None = None
        self.statistics_differ = False

    @property
    def device_type(self) -> str:
        """`cpu` or `cuda`: where the networks are, or are about to move to."""
        return str(self.trainer.strategy.root_device.type)

    @property
    def all_networks(self) -> list[Networks]:
        """The networks, and what else there is like them: their averages."""
        return [module for module in self.modules() if isinstance(module, Networks)]

    def setup(self, stage: str) -> None:
        """Choose how to compute on the device that the networks are about to move to."""
        compute, kind = self.compute, self.device_type
        layout = kind == "cuda" if compute.channels_last == "auto" else bool(compute.channels_last)
        suffice = 2 * torch.get_num_threads() <= facts.THREADS
        wanted = suffice if compute.two_threads is None else compute.two_threads
        for networks in self.all_networks:
            networks.lay_out(layout)
            networks.compile_by(compute.compile, kind)
            networks.two_threads = wanted and kind == "cpu" and self.trainer.world_size == 1

    def on_fit_start(self) -> None:
        """Refuse layers that something else has put into the networks' place."""
        self.networks.check_split()

    def synchronise_statistics(self) -> None:
        """Give all ranks the same BatchNorm statistics, where they have trained since."""
        if self.statistics_differ:
            average_batch_norm(self)
            self.statistics_differ = False

    def diverged(self, when: str) -> str:
        """What to say of a loss that is not finite, and what to do about it."""
        return (
            f"the loss is not finite at epoch {self.current_epoch + 1}, {when}; "
            "lower optimizer.lr, or set method.gradient_clip"
        )

    # -- the ordered pass -------------------------------------------------------------------------

    @torch.no_grad()
    def ordered_pass(self, visit: Visit) -> dict[str, Tensor]:
        """Visit the training set once, in order, un-augmented, in eval mode, all ranks together.

        Args:
            visit: from what each network says, by name, and the batch with its given labels, to
                tensors `[B, ...]`.

        Returns:
            What `visit` gave, over all samples in their order, `[N, ...]`, the same on every rank.
        """
        self.synchronise_statistics()
        data: OrderedData = self.trainer.datamodule  # type: ignore[attr-defined]
        size, rank, world = len(self.labels), self.global_rank, self.trainer.world_size

        def visits(rank: int, world: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
            for batch in data.ordered_batches(self.device, rank, world):
                said = self.networks.outputs(batch.views[0], self.needs_features)
                yield batch.indices, visit(said, batch)

        results: dict[str, Tensor] = {}
        with evaluating(self.networks), self.trainer.precision_plugin.forward_context():
            for indices, found in visits(rank, world):
                results = results or _room_for(found, size)
                for name, rows in found.items():
                    results[name][indices] = rows
                self._after_ordered_batch()
            # A rank without a batch learns the shapes from another's.
            results = results or _room_for(next(visits(0, 1))[1], size)
        blocks = [rank_block(size, data.eval_batch_size, r, world) for r in range(world)]
        for rows in results.values():
            exchange_blocks(rows, blocks)
        return results

    def _after_ordered_batch(self) -> None:
        """Let callbacks that have an `on_ordered_batch_end(trainer)` end a long pass."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "on_ordered_batch_end"):
                callback.on_ordered_batch_end(self.trainer)

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """What a method keeps of the pass of `measure` beside the rest, `[B, ...]` each by name.

        Args:
            outputs: of each network by name; with features where the method `needs_features`.
            batch: with the images as they are, and the given labels.
        """
        return {}

    def measure(self) -> Measurement:
        """What the networks say of the training set as they are now.

        Kept until the networks are trained further.
        """
        if self.measurement is None:
            measured = Measurement.of(
                self.ordered_pass(
                    lambda said, batch: rows_of(said, self.measures(said, batch), batch)
                )
            )
            if not measured.confidence["first"].isfinite().all():
                raise NonFiniteLossError(self.diverged("its last step"))
            self.measurement = measured
        return self.measurement

    # -- prediction -------------------------------------------------------------------------------

    def forward(self, images: Tensor, output: str = "ensemble") -> Tensor:
        """Class probabilities `[B, K]` of `first`, `second` or the `ensemble` (their mean)."""
        if output == "ensemble" and len(self.networks) == 1:
            output = "first"
        return with_ensemble(self.networks.probabilities(images))[output]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs that accuracy is reported for."""
        return (*self.networks, "ensemble") if len(self.networks) > 1 else tuple(self.networks)

    # -- testing ----------------------------------------------------------------------------------

    def _test_metrics(self) -> MetricCollection:
        settings: dict[str, Any] = {"num_classes": self.num_classes, "validate_args": False}
        metrics: dict[str, Any] = {
            f"accuracy_{name}": MulticlassAccuracy(average="micro", **settings)
            for name in self.output_names
        }
        metrics["recall_class"] = ClassRecall(self.num_classes)
        return MetricCollection(metrics, compute_groups=False)

    def on_validation_start(self) -> None:
        """Test all ranks' networks with the same statistics."""
        self.synchronise_statistics()

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count this batch's right answers."""
        outputs = with_ensemble(self.networks.probabilities(batch.views[0]))
        metrics = self.metrics[self.test_names[dataloader_idx]]
        assert isinstance(metrics, MetricCollection)
        for name in self.output_names:
            metrics[f"accuracy_{name}"].update(outputs[name], batch.labels)
        metrics["recall_class"].update(outputs["first"], batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Record accuracy; of the first test split also the first network's recall per class."""
        for split, suffix in suffixes(self.test_names).items():
            metrics = self.metrics[split]
            assert isinstance(metrics, MetricCollection)
            values = metrics.compute()
            metrics.reset()
            recall = values.pop("recall_class")
            self.record |= {f"{name}{suffix}": float(value) for name, value in values.items()}
            if not suffix:
                self.by_class["recall"] = recall

    test_step = validation_step
    on_test_start = on_validation_start
    on_test_epoch_end = on_validation_epoch_end


def _room_for(found: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """Uninitialised results of `size` rows, of the shapes and types of a batch's."""
    return {name: rows.new_empty((size, *rows.shape[1:])) for name, rows in found.items()}
