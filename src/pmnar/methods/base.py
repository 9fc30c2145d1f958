"""What every method of learning from wrong labels shares."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from pmnar.data.batches import Batch, rank_block
from pmnar.errors import InputError, NonFiniteLossError
from pmnar.methods.networks import Logits, Networks
from pmnar.methods.recall import ClassRecall
from pmnar.methods.step import Step, Terms, check_compute
from pmnar.runtime.facts import cores
from pmnar.runtime.gather import (
    average_batch_norm,
    exchange_blocks,
    least_over_ranks,
    sum_over_ranks,
)
from pmnar.runtime.seeding import derive_seed

NETWORK_NAMES = ("first", "second")

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]
Visit = Callable[[dict[str, Tensor], Batch], dict[str, Tensor]]


class OrderedData(Protocol):
    """What a method asks of the data module beyond Lightning's loaders.

    Attributes:
        eval_batch_size: samples in an ordered batch; with the ranks' number, who visits which.
    """

    eval_batch_size: int

    def ordered_batches(self, device: torch.device, rank: int, world: int) -> Iterable[Batch]:
        """A rank's `rank_block` of the training set, in order, without augmentation."""


class NoisyLabelMethod(L.LightningModule):
    """One or two networks under manual optimisation, with per-sample state and an ordered pass.

    A method gives `sample_losses`, and may give `prepare_epoch`, what it must know before an epoch
    begins. It names the views it needs in `views`. Its per-sample state is buffers addressed by
    sample index, so that they are saved, moved and resumed with everything else.

    Args:
        network: called once for each network; images `[B, C, H, W]` → logits `[B, K]`.
        optimizer: called with one parameter group a network.
        scheduler: called with the optimiser; stepped after each epoch.
        labels: the given labels of the training set, int64 `[N]`.
        class_names: K names, at least 2.
        networks: 1 or 2.
        seed: seeds the networks' initial weights and everything drawn in training.
        gradient_clip: largest gradient norm of each network, or None.
        compile: mode of `torch.compile` for the loss of both networks on all views: `off`,
            `default`, `reduce-overhead` (CUDA graphs), `max-autotune`, or `auto` (see `compute`).
        channels_last: lay out images pixel by pixel: true, false, or `auto`, on CUDA alone.
        fused_forward: one forward of all views together, BatchNorm split per view.
        test_names: the test splits, in the order of the data module's loaders.
    """

    views: tuple[str, ...] = ("weak",)
    labels: Tensor

    def __init__(
        self,
        network: Callable[[], nn.Module],
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        labels: Tensor,
        class_names: Sequence[str],
        *,
        networks: int = 1,
        seed: int = 0,
        gradient_clip: float | None = None,
        compile: str = "off",
        channels_last: bool | str = "auto",
        fused_forward: bool = False,
        test_names: tuple[str, ...] = ("test",),
    ) -> None:
        super().__init__()
        check_compute(compile, channels_last)
        if networks not in (1, 2):
            raise InputError(f"method.networks must be 1 or 2, got {networks}")
        if len(class_names) < 2:
            raise InputError(f"a classifier needs at least 2 classes, got {len(class_names)}")
        if gradient_clip is not None and not gradient_clip > 0:
            raise InputError(f"method.gradient_clip must be over 0, or null, got {gradient_clip}")
        self.automatic_optimization = False
        self.class_names, self.num_classes = tuple(class_names), len(class_names)
        self.seed, self.test_names = seed, test_names
        self.gradient_clip = gradient_clip
        self.compile_mode, self.channels_last = compile, channels_last
        self.networks = Networks(
            {name: _build(network, seed, name) for name in NETWORK_NAMES[:networks]}, fused_forward
        )
        self.register_buffer("labels", labels.clone())
        self._optimizer, self._scheduler = optimizer, scheduler
        self.metrics = nn.ModuleDict({name: self._test_metrics() for name in test_names})
        self.identity: dict[str, Any] = {}
        self.record: dict[str, float] = {}
        self.measurement: dict[str, Tensor] | None = None
        self._names: tuple[str, ...] = ()
        self._statistics_differ = False

    # -- what a method gives ----------------------------------------------------------------------

    losses_are_apart: bool = False
    """Whether no network's loss reaches another's parameters."""

    def per_sample(self, batch: Batch) -> dict[str, Tensor]:
        """What the loss needs to know of the batch's samples beside their labels."""
        return {}

    def sample_losses(
        self, logits: Logits, label: Tensor, per_sample: Mapping[str, Tensor]
    ) -> dict[str, Terms]:
        """For each network's name the terms of its loss by name, `[B]` each; the sum is minimised.

        A pure function of tensors, so that it can be compiled together with the networks.

        Args:
            logits: each network's `[B, K]` of every view, in the order of `views`.
            label: given labels, int64 `[B]`.
            per_sample: what `per_sample` gave.
        """
        raise NotImplementedError

    def prepare_epoch(self, epoch: int) -> None:
        """Called before epoch 1 and after each epoch with the next one's number (1-based).

        It is called after the last epoch too, so that what a run leaves behind describes its
        final networks.
        """

    @property
    def weights(self) -> Tensor | None:
        """The first network's sample weights `[N]`, for methods that have such."""
        return None

    # -- training ---------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """One optimiser with one parameter group a network, and its schedule."""
        groups = [
            {"params": list(network.parameters()), "name": name}
            for name, network in self.networks.items()
        ]
        optimizer = self._optimizer(groups)
        return {"optimizer": optimizer, "lr_scheduler": self._scheduler(optimizer)}

    def on_fit_start(self) -> None:
        """Choose how to compute on the device that the networks are on now."""
        self._lay_out()
        self._step = Step(self, self.compile_mode)

    def _lay_out(self) -> None:
        on_cuda = self.device.type == "cuda"
        self.networks.lay_out(on_cuda if self.channels_last == "auto" else bool(self.channels_last))
        alone = self.device.type == "cpu" and self.trainer.world_size == 1
        self.networks.two_threads = alone and 2 * torch.get_num_threads() <= cores()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One forward a network and view, one joint backward, one step of all networks."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        optimizer.zero_grad()
        terms = self._step(batch)
        optimizer.step()
        self._accumulate(terms, batch_idx)

    @property
    def compiled_by(self) -> str:
        """The mode of `torch.compile` on the device of the fit, or `off`."""
        return self._step.mode

    def losses(
        self, views: tuple[Tensor, ...], label: Tensor, per_sample: Mapping[str, Tensor]
    ) -> dict[str, Terms]:
        """The terms of every network's loss on a batch of views `[B, C, H, W]`, each `[B]`."""
        return self.sample_losses(self.networks.logits(views), label, per_sample)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip each network's gradient on its own."""
        if self.gradient_clip is not None:
            for group in optimizer.param_groups:
                clip_grad_norm_(group["params"], self.gradient_clip)

    @torch.no_grad()
    def _accumulate(self, terms: dict[str, Tensor], step: int) -> None:
        """Add this batch to the epoch's sums, on the device: nothing waits for the result."""
        sums = torch.stack([values.sum(dtype=torch.float64) for values in terms.values()])
        if not self._names:
            self._names, self._count = tuple(terms), 0
            self._sums = torch.zeros_like(sums)
            self._first_bad_step = torch.full((), torch.inf, device=sums.device)
        self._sums += sums
        self._count += len(next(iter(terms.values())))
        bad = torch.where(sums.isfinite().all(), torch.inf, float(step + 1))
        self._first_bad_step = torch.minimum(self._first_bad_step, bad)

    # -- epochs -----------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Prepare epoch 1; a resumed run has its preparation in the checkpoint."""
        if self.current_epoch == 0:
            self._prepare(1)

    def on_train_epoch_start(self) -> None:
        """Seed what networks draw themselves (dropout), and begin the epoch's record."""
        torch.manual_seed(derive_seed(self.seed, "networks", self.current_epoch, self.global_rank))
        self.measurement = None
        self._names, self._statistics_differ = (), True
        self._started = time.perf_counter()
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.record = {
            "epoch": self.current_epoch + 1,
            "learning_rate": optimizer.param_groups[0]["lr"],
        }

    def on_train_epoch_end(self) -> None:
        """Check and record the losses, step the schedule, prepare the next epoch."""
        self._check_finite()
        self._synchronise_statistics()
        count = self._sums.new_tensor([self._count])
        *sums, total_count = sum_over_ranks(torch.cat([self._sums, count])).tolist()
        means = [total / total_count for total in sums]
        self.record |= dict(zip(self._names, means, strict=True)) | {"loss": sum(means)}
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LRScheduler)
        scheduler.step()
        self._prepare(self.current_epoch + 2)
        self.record["seconds"] = time.perf_counter() - self._started

    def _prepare(self, epoch: int) -> None:
        started = time.perf_counter()
        self.prepare_epoch(epoch)
        self.record["seconds_reweighting"] = time.perf_counter() - started

    def _check_finite(self) -> None:
        # Of all ranks: they must stop together, not wait for one that has stopped.
        step = float(least_over_ranks(self._first_bad_step))
        # The last step's loss was finite and its update may still have thrown the networks off.
        finite = torch.stack([p.isfinite().all() for p in self.networks.parameters()]).all()
        if step < float("inf") or not finite:
            place = f"step {int(step)}" if step < float("inf") else "its last step"
            raise NonFiniteLossError(self._diverged(place))

    def _diverged(self, place: str) -> str:
        return (
            f"the loss is not finite at epoch {self.current_epoch + 1}, {place}; "
            "lower optimizer.lr, or set method.gradient_clip"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the checkpoint belongs to: data set, method, classes, configuration."""
        checkpoint["pmnar"] = self.identity

    # -- the ordered pass -------------------------------------------------------------------------

    @torch.no_grad()
    def ordered_pass(self, visit: Visit) -> dict[str, Tensor]:
        """Visit the training set once, in order, un-augmented, in eval mode, all ranks together.

        Args:
            visit: from the probabilities `[B, K]` (fp32) of each network by name, and the batch
                with its given labels, to tensors `[B, ...]`.

        Returns:
            What `visit` gave, over all samples in their order, `[N, ...]`, the same on every rank.
        """
        self._synchronise_statistics()
        data: OrderedData = self.trainer.datamodule  # type: ignore[attr-defined]
        size, rank, world = len(self.labels), self.global_rank, self.trainer.world_size
        modes = [(module, module.training) for module in self.networks.modules()]
        self.networks.eval()

        def visits(rank: int, world: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
            for batch in data.ordered_batches(self.device, rank, world):
                yield batch.indices, visit(self.networks.probabilities(batch.views[0]), batch)

        results: dict[str, Tensor] = {}
        with self.trainer.precision_plugin.forward_context():
            for indices, found in visits(rank, world):
                results = results or _room_for(found, size)
                for name, rows in found.items():
                    results[name][indices] = rows
                self._after_ordered_batch()
            # A rank without a batch learns the shapes from another's.
            results = results or _room_for(next(visits(0, 1))[1], size)
        for module, mode in modes:  # one by one: a layer may be frozen on purpose
            module.training = mode
        blocks = [rank_block(size, data.eval_batch_size, r, world) for r in range(world)]
        for rows in results.values():
            exchange_blocks(rows, blocks)
        return results

    def _after_ordered_batch(self) -> None:
        """Let callbacks that have an `on_ordered_batch_end(trainer)` end a long pass."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if hasattr(callback, "on_ordered_batch_end"):
                callback.on_ordered_batch_end(self.trainer)

    def measure(self) -> dict[str, Tensor]:
        """Confidence and prediction of the networks on the training set as they are now.

        Returns:
            For each network's name: `confidence_<name>`, the probability of the given label,
            float32 `[N]`; for each output's name (with two networks `ensemble` too):
            `prediction_<name>`, int64 `[N]`, and `top_<name>`, the prediction's probability.
            Kept until the networks are trained further.
        """
        if self.measurement is None:
            measured = self.ordered_pass(_confidence_and_prediction)
            if not measured["confidence_first"].isfinite().all():
                raise NonFiniteLossError(self._diverged("its last step"))
            self.measurement = measured
        return self.measurement

    def _synchronise_statistics(self) -> None:
        if self._statistics_differ:
            average_batch_norm(self.networks)
            self._statistics_differ = False

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
        self._synchronise_statistics()

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count this batch's right answers."""
        outputs = with_ensemble(self.networks.probabilities(batch.views[0]))
        metrics = self.metrics[self.test_names[dataloader_idx]]
        assert isinstance(metrics, MetricCollection)
        for name in self.output_names:
            metrics[f"accuracy_{name}"].update(outputs[name], batch.label)
        metrics["recall_class"].update(outputs["first"], batch.label)

    def on_validation_epoch_end(self) -> None:
        """Record accuracy; of the first test split also the first network's recall per class."""
        for number, split in enumerate(self.test_names):
            metrics = self.metrics[split]
            assert isinstance(metrics, MetricCollection)
            values = metrics.compute()
            metrics.reset()
            recall = values.pop("recall_class").tolist()
            suffix = f"_{split}" if number else ""
            self.record |= {f"{name}{suffix}": float(value) for name, value in values.items()}
            if number == 0:
                self.record |= {f"recall_class_{k}": value for k, value in enumerate(recall)}

    def on_test_start(self) -> None:
        """As in validation, of networks that may not have been trained in this process."""
        self._lay_out()
        self._synchronise_statistics()

    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end


def with_ensemble(probabilities: dict[str, Tensor]) -> dict[str, Tensor]:
    """The networks' probabilities and, with two networks, their mean under `ensemble`."""
    if len(probabilities) == 1:
        return probabilities
    mean = torch.stack(list(probabilities.values())).mean(0)
    return {**probabilities, "ensemble": mean}


def _room_for(found: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """Uninitialised results of `size` rows, of the shapes and types of a batch's."""
    return {name: rows.new_empty((size, *rows.shape[1:])) for name, rows in found.items()}


def _confidence_and_prediction(probabilities: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, p in probabilities.items():
        found[f"confidence_{name}"] = p.gather(-1, batch.label[:, None]).squeeze(-1)
    for name, p in with_ensemble(probabilities).items():
        found[f"top_{name}"], found[f"prediction_{name}"] = p.max(-1)
    return found


def _build(network: Callable[[], nn.Module], seed: int, name: str) -> nn.Module:
    """A network whose initial weights depend on the seed and its name alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "initial weights", name))
        return network()
