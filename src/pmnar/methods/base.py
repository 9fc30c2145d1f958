"""What every method of learning from wrong labels shares."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pmnar.data import NoisyDataModule
from pmnar.data.batches import Batch, Stream
from pmnar.errors import InputError, NonFiniteLossError
from pmnar.methods.beginning import Beginning
from pmnar.methods.evaluation import NetworksModule
from pmnar.methods.networks import Networks
from pmnar.methods.setting import Setting
from pmnar.methods.sums import EpochSums
from pmnar.methods.terms import Losses, Terms, sums, total
from pmnar.names import CLEAN, TRAIN
from pmnar.runtime.seeding import derive_seed

NETWORK_NAMES = ("first", "second")


class NoisyLabelMethod(NetworksModule):
    """One or two networks under manual optimisation, with per-sample state and an ordered pass.

    A method gives `losses`, and may give `prepare_epoch`, what it must know before an epoch
    begins, and `after_step`. It names the views it needs in `views`. Its per-sample state is
    buffers addressed by sample index, so that they are saved, moved and resumed with everything
    else.

    Args:
        setting: what all methods share.
        networks: 1 or 2.
    """

    views: tuple[str, ...] = ("weak",)
    """Names of the views in a training batch, which may repeat: each is a draw of its own."""
    losses_are_apart: bool = False
    """Whether no network's loss reaches another's parameters."""
    uses_truth: bool = False
    """Whether it may draw from the split `clean`, which has true labels."""

    def __init__(self, setting: Setting, *, networks: int = 1) -> None:
        if type(networks) is not int or networks not in (1, 2):
            raise InputError(f"method.networks must be 1 or 2, got {networks}")
        built = {name: _build(setting, name) for name in NETWORK_NAMES[:networks]}
        super().__init__(Networks(built, setting.compute.fused_forward), setting)
        self.automatic_optimization = False
        self.seed, self.gradient_clip = setting.seed, setting.gradient_clip
        self._setting = setting
        self.epochs_done = 0.0  # with the part of the current one that is behind
        self.identity: dict[str, Any] = {}
        self._sums = EpochSums()

    # -- what a method gives ----------------------------------------------------------------------

    @property
    def peers(self) -> dict[str, str]:
        """For each network's name the other's; its own where it is alone."""
        return dict(zip(self.networks, reversed(list(self.networks)), strict=True))

    def losses(self, batch: Batch) -> Losses:
        """For each network's name the terms of its loss by name; their sum is minimised.

        It does its own forwards, by `self.networks.logits` or one network's `logits_of`. A term is
        `[B]`, of which the mean over the global batch is taken, or what `batch.share.mean` gave.
        """
        raise NotImplementedError

    def after_step(self, batch: Batch) -> None:
        """Called after each step of the optimiser: moving averages, queues."""

    def prepare_epoch(self, epoch: int) -> None:
        """Called before epoch 1 and after each epoch with the next one's number (1-based).

        It is called after the last epoch too, so that what a run leaves behind describes its
        final networks.
        """

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        """Which samples an epoch (1-based) is drawn from: all, unless a method says otherwise.

        By the epoch and what a checkpoint holds alone, the same on every rank. The first stream
        rules the number of steps; `batch.parts` has a batch of each (see `ShuffledBatches`).
        """
        return {TRAIN: Stream(torch.arange(len(self.labels)))}

    def scores(self) -> Mapping[str, Tensor]:
        """The method's own opinion of each given label: columns `[N]` of `samples.parquet`."""
        return {}

    def matrices(self) -> Mapping[str, Tensor]:
        """What it believes of the noise: P(given | true), rows true classes, `[K, K]` by name."""
        return {}

    @property
    def suspects_by(self) -> str:
        """The column of `samples.parquet` that suspects are ordered by, the lowest first."""
        return "confidence"

    def advice(self, epochs: int) -> str | None:
        """What to tell before a run of so many epochs, if anything."""
        return None

    def events(self) -> Mapping[str, int]:
        """What figures mark on curves over epochs, by name, and after which epoch (1-based)."""
        return {}

    @property
    def remedy(self) -> str:
        """What to try where a run ends with classes that it has stopped predicting."""
        return "more epochs, a lower optimizer.lr, or compare=ce to see what plain training gives"

    @property
    def weights(self) -> Tensor | None:
        """The first network's sample weights `[N]`, for methods that have such."""
        return None

    # -- training ---------------------------------------------------------------------------------

    def attach(self, data: NoisyDataModule) -> None:
        """Tell the data module which views, streams and labels this method wants of it.

        Raises:
            InputError: it needs true labels, and none are held out.
        """
        if self.uses_truth and CLEAN not in data.splits:
            raise InputError(
                "this method learns from samples with true labels beside the others: set "
                "data.clean to how many are held out for it, such as data.clean=1000"
            )
        data.train_views, data.uses_truth = self.views, self.uses_truth
        data.true_labels = self.clean_samples = len(data.splits[CLEAN]) if self.uses_truth else 0
        data.streams = self.streams if self._has_streams else None

    @property
    def _has_streams(self) -> bool:
        return type(self).streams is not NoisyLabelMethod.streams

    def configure_optimizers(self) -> Any:
        """One optimiser with one parameter group a network, and its schedule."""
        groups = [
            {"params": [p for p in network.parameters() if p.requires_grad], "name": name}
            for name, network in self.networks.items()
        ]
        claimed = {id(parameter) for group in groups for parameter in group["params"]}
        trained = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        unclaimed = [n for n, p in trained if id(p) not in claimed]
        if unclaimed:
            raise ValueError(f"no parameter group trains {', '.join(unclaimed)}")
        optimizer = self._setting.optimizer(groups)
        scheduler = self._setting.scheduler(optimizer)
        self._beginning = Beginning(optimizer, scheduler)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def setup(self, stage: str) -> None:
        """Choose how to compute on the device that the networks are about to move to."""
        super().setup(stage)
        for networks in self.all_networks:
            networks.apart = self.losses_are_apart
        if self._has_streams:  # whose lengths, and so the number of steps, change between epochs
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One forward a network and view, one joint backward, one step of all networks."""
        share, optimizer = batch.share, self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        assert share is not None
        optimizer.zero_grad()
        self.epochs_done = self.current_epoch + batch_idx / self.trainer.num_training_batches
        self.networks.begin_step()
        found = self.losses(batch)
        totals = {name: total(terms, share) for name, terms in found.items()}
        if self.networks.in_threads:
            # Lightning's hooks around backward are not called.
            self.networks.each(lambda name: torch.autograd.backward(totals[name]), in_threads=True)
        else:
            self.manual_backward(torch.stack(list(totals.values())).sum())
        optimizer.step()
        self.after_step(batch)
        self._accumulate(sums(found, share), len(batch.indices), batch_idx)

    @torch.no_grad()
    def write(self, buffer: Tensor, batch: Batch, rows: Tensor) -> None:
        """Put rows `[B, ...]` of this rank's samples into a buffer `[N, ...]`, on every rank.

        The one way into per-sample state during a step: all ranks write the whole global batch.
        """
        assert batch.share is not None
        positions = batch.share.whole(batch.indices)
        buffer[positions] = batch.share.whole(rows.detach()).to(buffer.dtype)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip each network's gradient on its own."""
        if self.gradient_clip is not None:
            for group in optimizer.param_groups:
                clip_grad_norm_(group["params"], self.gradient_clip)

    def _accumulate(self, found: Terms, size: int, step: int) -> None:
        self._sums.add(found, size, step)

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
        self._sums, self.statistics_differ = EpochSums(), True
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
        self.record |= self._sums.means()
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LRScheduler)
        scheduler.step()
        self._prepare(self.current_epoch + 2)
        self.record["seconds"] = time.perf_counter() - self._started

    def _prepare(self, epoch: int) -> None:
        started = time.perf_counter()
        self.prepare_epoch(epoch)
        self.record["seconds_reweighting"] = time.perf_counter() - started

    def restart(self, stage: str, keep: Sequence[str] = ()) -> None:
        """Begin a stage of training, between epochs: in `prepare_epoch`.

        Networks begin anew, from weights seeded by the seed, the network's name and the stage;
        the optimiser forgets its momentum; its rates, and the schedule, are those of epoch 1.

        Args:
            stage: its name.
            keep: beginnings of the names of a network's parameters and buffers that go on as they
                are; `""` keeps all.
        """
        for name, network in self.networks.items():
            fresh = _build(self._setting, name, stage).state_dict()
            # Into what is there: the optimiser, and DistributedDataParallel, hold on to it.
            with torch.no_grad():
                for key, value in network.state_dict().items():
                    if not key.startswith(tuple(keep)):
                        value.copy_(fresh[key])
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer)
        assert isinstance(scheduler, LRScheduler)
        self._beginning.bring_back(optimizer.optimizer, scheduler)
        self.measurement, self.statistics_differ = None, False

    def _check_finite(self) -> None:
        step = float(self._sums.bad_step())
        # The last step's loss was finite and its update may still have thrown the networks off.
        finite = torch.stack([p.isfinite().all() for p in self.networks.parameters()]).all()
        if step < float("inf") or not finite:
            when = f"step {int(step)}" if step < float("inf") else "its last step"
            raise NonFiniteLossError(self.diverged(when))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the checkpoint belongs to: data set, method, classes, configuration."""
        checkpoint["pmnar"] = self.identity


def _build(setting: Setting, name: str, *stage: str) -> nn.Module:
    """A network whose initial weights depend on the seed, its name and the stage alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(setting.seed, "initial weights", name, *stage))
        return setting.network()
