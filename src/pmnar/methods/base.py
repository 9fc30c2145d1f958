"""What every method of learning from wrong labels shares."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pmnar.data.batches import Batch
from pmnar.errors import InputError, NonFiniteLossError
from pmnar.methods.evaluation import NetworksModule
from pmnar.methods.networks import Logits, Networks
from pmnar.methods.step import Step, Terms, check_compute
from pmnar.runtime.gather import least_over_ranks, sum_over_ranks
from pmnar.runtime.seeding import derive_seed

NETWORK_NAMES = ("first", "second")

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class NoisyLabelMethod(NetworksModule):
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
            `default`, `reduce-overhead` (CUDA graphs), `max-autotune`, or `auto` (`step.FASTEST`).
        channels_last: lay out images pixel by pixel: true, false, or `auto`, on CUDA alone.
        fused_forward: one forward of all views together, BatchNorm split per view.
        test_names: the test splits, in the order of the data module's loaders.
    """

    views: tuple[str, ...] = ("weak",)

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
        check_compute(compile, channels_last)
        if networks not in (1, 2):
            raise InputError(f"method.networks must be 1 or 2, got {networks}")
        if len(class_names) < 2:
            raise InputError(f"a classifier needs at least 2 classes, got {len(class_names)}")
        if gradient_clip is not None and not gradient_clip > 0:
            raise InputError(f"method.gradient_clip must be over 0, or null, got {gradient_clip}")
        built = {name: _build(network, seed, name) for name in NETWORK_NAMES[:networks]}
        pair = Networks(built, fused_forward)
        super().__init__(pair, labels, class_names, test_names, channels_last)
        self.automatic_optimization = False
        self.seed, self.gradient_clip, self.compile_mode = seed, gradient_clip, compile
        self._optimizer, self._scheduler = optimizer, scheduler
        self.identity: dict[str, Any] = {}
        self._names: tuple[str, ...] = ()

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

    def setup(self, stage: str) -> None:
        """Choose how to compute on the device that the networks are about to move to."""
        super().setup(stage)
        self._step = Step(self, self.compile_mode)

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
        self._lay_out_momentum()
        if self.current_epoch == 0:
            self._prepare(1)

    def _lay_out_momentum(self) -> None:
        """Lay out what a checkpoint brought like the parameters.

        It may be of a run with another layout, and the fused optimiser goes through memory, not
        through rows and columns.
        """
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def on_train_epoch_start(self) -> None:
        """Seed what networks draw themselves (dropout), and begin the epoch's record."""
        torch.manual_seed(derive_seed(self.seed, "networks", self.current_epoch, self.global_rank))
        self.measurement = None
        self._names, self.statistics_differ = (), True
        self._started = time.perf_counter()
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.record = {
            "epoch": self.current_epoch + 1,
            "learning_rate": optimizer.param_groups[0]["lr"],
        }
        self.by_class = {}

    def on_train_epoch_end(self) -> None:
        """Check and record the losses, step the schedule, prepare the next epoch."""
        self._check_finite()
        self.synchronise_statistics()
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
            raise NonFiniteLossError(self.diverged(place))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the checkpoint belongs to: data set, method, classes, configuration."""
        checkpoint["pmnar"] = self.identity


def _build(network: Callable[[], nn.Module], seed: int, name: str) -> nn.Module:
    """A network whose initial weights depend on the seed and its name alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "initial weights", name))
        return network()
