"""O2U-Net: from overfitting to underfitting and back, wrong labels are those hard to learn again.

Huang et al., "O2U-Net: a simple noisy label detection approach for deep neural networks", ICCV
2019. It needs to know how many labels are wrong: `forget_rate`; `estimate` is ours.

Departures from its public code: the recipe of the first and the last stage is the data set's (the
code's: a 9-layer network, SGD at .01, .005 and .001); the last stage begins anew, as the paper has
it, unless `clean_from` says otherwise; an epoch's mean is that of the samples it has shown.
"""

from collections.abc import Mapping, Sequence

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch, Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.averages import Averages
from pmnar.methods.noise_rate import estimated_rate, told_rate
from pmnar.methods.setting import Setting
from pmnar.methods.stages import StagedMethod
from pmnar.methods.terms import Losses
from pmnar.runtime.gather import world_size
from pmnar.runtime.seeding import derive_seed

PRETRAIN, CYCLIC, CLEAN = "pretrain", "cyclic", "clean"
SCRATCH, PRETRAINED = "scratch", "pretrained"


class O2U(StagedMethod):
    """Cross-entropy; the same in small batches at a cyclical rate; then on what is left.

    In the second stage each sample's losses are recorded, and their mean over epochs is what ranks
    the labels: those of the largest are left out of the third.

    Args:
        setting: what all methods share.
        networks: 1.
        pretrain_epochs: of the first stage, at least 1.
        cyclic_epochs: of the second, at least 1.
        clean_epochs: of the third, at least 0.
        forget_rate: share of the samples left out, in [0, 1): the noise rate; or `estimate`, from
            the ranking.
        cycle: epochs in which the rate falls once, at least 1.
        highest_rate: the second stage's rate, in the optimiser's own, falls from near this, over 0,
        lowest_rate: to this, over 0.
        cyclic_batch_size: samples in a batch of the second stage, at least 2.
        clean_from: the third begins from `scratch`, or from what is `pretrained` in the first.
        clean_milestones: its epochs after which the rate is divided by ten, beside what the
            schedule, which begins anew, has done by then.

    Attributes:
        last: each sample's loss in the epoch at hand, float32 `[N]`; -1: none yet.
        normalised: the sum over epochs of the losses less their epoch's mean, float64 `[N]`.
        recorded: how many epochs these are, int64 `[]`.
        kept: the samples that the third stage is trained on, bool `[N]`.
        pretrained: the network after the first stage; there where `clean_from` asks for it.

    Raises:
        InputError: a value is out of its range.
    """

    last: Tensor
    normalised: Tensor
    recorded: Tensor
    kept: Tensor
    schedules = 3

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        pretrain_epochs: int = 249,
        cyclic_epochs: int = 249,
        clean_epochs: int = 249,
        forget_rate: float | str = 0.2,
        cycle: int = 10,
        highest_rate: float = 1.0,
        lowest_rate: float = 0.1,
        cyclic_batch_size: int = 16,
        clean_from: str = SCRATCH,
        clean_milestones: Sequence[int] = (124, 186),
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for O2U-Net, got {networks}")
        told = told_rate(forget_rate)
        check_counts(1, cyclic_epochs=cyclic_epochs, cycle=cycle)
        check_counts(2, cyclic_batch_size=cyclic_batch_size)
        check_reals("over 0", highest_rate=highest_rate, lowest_rate=lowest_rate)
        if clean_from not in (SCRATCH, PRETRAINED):
            allowed = f"{SCRATCH} or {PRETRAINED}"
            raise InputError(f"method.clean_from must be {allowed}, got {clean_from}")
        if isinstance(clean_milestones, str) or not isinstance(clean_milestones, Sequence):
            raise InputError(f"method.clean_milestones must be a list, got {clean_milestones}")
        for milestone in clean_milestones:
            check_counts(1, clean_milestones=milestone)
        if (left := number_kept(told or 0.0, len(setting.labels))) < 2:
            raise InputError(
                f"method.forget_rate={forget_rate} leaves {left} of {len(setting.labels)} samples, "
                "too few to train on: lower it"
            )
        stages = {PRETRAIN: pretrain_epochs, CYCLIC: cyclic_epochs, CLEAN: clean_epochs}
        super().__init__(setting, stages)
        self.forget_rate, self.clean_milestones = told, tuple(clean_milestones)
        self.cycle, self.cyclic_batch_size = cycle, cyclic_batch_size
        self.highest_rate, self.lowest_rate = highest_rate, lowest_rate
        size, device = len(self.labels), self.labels.device
        self.register_buffer("last", torch.full((size,), -1.0, device=device))
        self.register_buffer("normalised", torch.zeros(size, dtype=torch.float64, device=device))
        self.register_buffer("recorded", torch.zeros((), dtype=torch.int64, device=device))
        self.register_buffer("kept", torch.ones(size, dtype=torch.bool, device=device))
        self.pretrained = Averages(self.networks) if clean_from == PRETRAINED else None

    def advice(self, epochs: int) -> str | None:
        """What a run of so many epochs does not come to, and what is taken for the noise rate."""
        told = [super().advice(epochs)]
        if self.forget_rate is not None:
            told.append(
                f"{self.forget_rate:.1%} of the samples are left out in the end, which should be "
                "the share of wrong labels: method.forget_rate sets it"
            )
        return "; ".join(each for each in told if each) or None

    # -- stages -----------------------------------------------------------------------------------

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        """All samples; in small batches; those that are kept.

        Raises:
            InputError: too few are.
        """
        stage, _ = self.stage_of(epoch)
        if stage == PRETRAIN:
            return super().streams(epoch)
        if stage == CYCLIC:
            everything = torch.arange(len(self.labels))
            size = max(self.cyclic_batch_size, 2 * world_size())
            return {CYCLIC: Stream(everything, size)}
        found = self.kept.nonzero()[:, 0].cpu()
        if len(found) < 2 * world_size():
            raise InputError(
                f"{len(found)} of {len(self.kept)} samples are left after {epoch - 1} epochs, too "
                "few to train on: tell a lower method.forget_rate"
            )
        return {CLEAN: Stream(found)}

    def begin_stage(self, name: str) -> None:
        """The optimiser and its schedule begin anew; the network does in the third stage."""
        if name == CYCLIC:
            if self.pretrained is not None:
                self.pretrained.follow(self.networks, 0.0)
            self.restart(name, keep=[""])
        elif self.pretrained is None:
            self.restart(name)
        else:
            self.restart(name, keep=[""])
            self.networks["first"].load_state_dict(self.pretrained["first"].state_dict())

    def on_train_epoch_start(self) -> None:
        """Set the second stage's learning rate, and divide the third's where it is time to."""
        stage, epoch = self.stage
        if stage == CLEAN and epoch - 1 in self.clean_milestones:
            self.multiply_rates(0.1)
        super().on_train_epoch_start()
        if stage == CYCLIC:
            optimizer = self.optimizers()
            assert isinstance(optimizer, LightningOptimizer)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.rate_of(epoch)
            self.record["learning_rate"] = optimizer.param_groups[0]["lr"]

    def rate_of(self, epoch: int) -> float:
        """The learning rate in an epoch (1-based) of the second stage, in the optimiser's own."""
        fallen = (epoch % self.cycle + 1) / self.cycle
        return (1 - fallen) * self.highest_rate + fallen * self.lowest_rate

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy, `[B]`, which the second stage records."""
        [z] = self.networks.logits(batch.views)["first"]
        loss = cross_entropy(z, batch.labels)
        if self.stage[0] == CYCLIC:
            self.write(self.last, batch, loss)
        return {"first": {"loss_first": loss}}

    def prepare_epoch(self, epoch: int) -> None:
        """After an epoch of the second stage: add its losses, and rank the samples anew."""
        if epoch > 1 and self.stage_of(epoch - 1)[0] == CYCLIC:
            shown = self.last >= 0
            losses = torch.where(shown, self.last, 0).double()
            mean = losses.sum() / shown.sum()
            self.normalised += torch.where(shown, losses - mean, 0)
            self.recorded += 1
            self.last.fill_(-1)
            self._select(epoch)
        self.record["kept"] = float(self.kept.double().mean())

    def _select(self, epoch: int) -> None:
        """Leave out the samples of the largest losses; of equal ones the last."""
        rate = self.forget_rate
        if rate is None:
            rate = float(estimated_rate(self.normalised, derive_seed(self.seed, "noise", epoch)))
        self.kept.fill_(False)
        number = number_kept(rate, len(self.kept))
        self.kept[self.normalised.argsort(stable=True)[:number]] = True
        self.record["forget_rate"] = rate

    def scores(self) -> dict[str, Tensor]:
        """`normalised_loss`: each sample's loss less the mean, over epochs; `kept`: 1 or 0."""
        if not self.recorded:
            return {}
        mean = self.normalised / self.recorded
        return {"normalised_loss": mean.float(), "kept": self.kept.float()}


def number_kept(rate: float, size: int) -> int:
    """How many of so many samples stay."""
    return size - round(rate * size)
