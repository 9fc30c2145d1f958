"""The end that NLNL and JNPL have in common: a network on what is trusted, one on its predictions.

Kim et al., "NLNL: negative learning for noisy labels", ICCV 2019.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch, Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, soft_cross_entropy
from pmnar.methods.measurement import Outputs
from pmnar.methods.setting import Setting
from pmnar.methods.stages import StagedMethod
from pmnar.methods.terms import Losses, Terms, mean_over
from pmnar.runtime.gather import world_size
from pmnar.samples.memory import RecentPredictions
from pmnar.samples.targets import balanced

TRUSTED, SOFT = "trusted", "soft"


class PseudoLabels(StagedMethod):
    """Stages of learning, a new network on the trusted samples, and one on soft labels of all.

    What a network says of each sample in training is remembered over the last epochs. In the end
    of learning those are trusted whose given label it finds likely. The mean of what the network
    that was trained on them says of all samples, in its last epochs, is the last one's target.

    Args:
        setting: what all methods share.
        learning: epochs of each stage of learning by name.
        networks: 1.
        trusted_epochs: of the network on the trusted samples, at least 0.
        soft_epochs: of the network on soft labels, at least 0.
        soft_rate: learning rate of these two in that of the others, over 0.
        soft_milestones: their epochs after which it is divided by ten.
        cut: a given label that is at least so likely is trusted, in [0, 1].
        remembered: epochs that are remembered, at least 1.
        complementary: complementary labels that are drawn for a sample each time, at least 1.

    Attributes:
        history: the probabilities that are remembered.
        confidence: of the given label, mean over the history in the end of learning, `[N]`.
        trusted: bool `[N]`.
        balance: weight of each class, `[K]`.

    Raises:
        InputError: a value is out of its range.
    """

    confidence: Tensor
    trusted: Tensor
    balance: Tensor

    def __init__(
        self,
        setting: Setting,
        learning: Mapping[str, int],
        *,
        soft_rate: float,
        networks: int = 1,
        trusted_epochs: int = 480,
        soft_epochs: int = 480,
        soft_milestones: Sequence[int] = (192, 288),
        cut: float = 0.5,
        remembered: int = 10,
        complementary: int = 1,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for this method, got {networks}")
        check_reals("over 0", soft_rate=soft_rate)
        check_reals("in [0, 1]", cut=cut)
        check_counts(1, remembered=remembered, complementary=complementary)
        if isinstance(soft_milestones, str) or not isinstance(soft_milestones, Sequence):
            raise InputError(f"method.soft_milestones must be a list, got {soft_milestones}")
        for milestone in soft_milestones:
            check_counts(1, soft_milestones=milestone)
        stages = {**learning, TRUSTED: trusted_epochs, SOFT: soft_epochs}
        super().__init__(setting, stages)
        self.soft_rate, self.soft_milestones = soft_rate, tuple(soft_milestones)
        self.cut, self.complementary = cut, complementary
        size = len(self.labels)
        self.history = RecentPredictions(self.labels, self.num_classes, remembered)
        self.register_buffer("confidence", torch.zeros(size))
        self.register_buffer("trusted", torch.ones(size, dtype=torch.bool))
        self.register_buffer("balance", balanced(self.labels, self.num_classes))

    # -- stages -----------------------------------------------------------------------------------

    def prepare_epoch(self, epoch: int) -> None:
        """Sum up what is remembered, where it says more than before."""
        before = self.stage_of(epoch - 1)[0] if epoch > 1 else None
        after = self.stage_of(epoch)[0]
        if before == TRUSTED:
            self._remember_all(epoch - 1)
        elif before not in (None, SOFT):
            given = self.labels[:, None]
            self.confidence.copy_(self.history.mean().gather(-1, given).squeeze(-1))
            self.trusted.copy_(self.confidence >= self.trusts_from(after))
        if after != before:
            self._change(after)
        self.record["trusted"] = float(self.trusted.double().mean())

    def _change(self, stage: str) -> None:
        """Weigh the classes as a stage to come does, and forget what it may not know."""
        if stage == TRUSTED:
            self.history.values.zero_()
            self.balance.copy_(balanced(self.labels, self.num_classes, self.trusted))
        elif stage == SOFT:
            self.balance.copy_(balanced(self.history.mean().argmax(-1), self.num_classes))

    def trusts_from(self, stage: str) -> float:
        """How likely a given label must be to be trusted in a stage."""
        return self.cut

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        """All samples; the trusted alone in their stage.

        Raises:
            InputError: too few are.
        """
        if self.stage_of(epoch)[0] != TRUSTED:
            return super().streams(epoch)
        found = self.trusted.nonzero()[:, 0].cpu()
        if len(found) < 2 * world_size():
            raise InputError(
                f"{len(found)} of {len(self.trusted)} samples are trusted after "
                f"{epoch - 1} epochs, too few to train on: lower method.cut, or train for longer"
            )
        return {TRUSTED: Stream(found)}

    def begin_stage(self, name: str) -> None:
        """A new network for trusted samples, and for soft labels."""
        if name in (TRUSTED, SOFT):
            self.restart(name)
            self.multiply_rates(self.soft_rate)

    def on_train_epoch_start(self) -> None:
        """Divide the new networks' rate by ten, where it is time to."""
        name, epoch = self.stage
        if name in (TRUSTED, SOFT) and epoch - 1 in self.soft_milestones:
            self.multiply_rates(0.1)
        super().on_train_epoch_start()

    # -- losses -----------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """The loss of the stage at hand."""
        assert batch.share is not None
        [z] = self.networks.logits(batch.views)["first"]
        name, _ = self.stage
        if name == TRUSTED:
            rows = cross_entropy(z, batch.labels)
            loss = mean_over(rows, self.balance[batch.labels], batch.share)
            return {"first": {"loss_first": loss}}
        if name == SOFT:
            target = self.history.mean(batch.indices)
            weights = self.balance[target.argmax(-1)]
            return {"first": {"loss_first": weights * soft_cross_entropy(z, target)}}
        found = self.learn(name, z, batch)
        place = self.history.place(self.current_epoch + 1)
        self.write(place, batch, z.detach().float().softmax(-1))
        return {"first": found}

    def learn(self, stage: str, logits: Tensor, batch: Batch) -> Terms:
        """The terms of a stage of learning."""
        raise NotImplementedError

    def drawn(self, batch: Batch) -> Tensor:
        """How often each class is drawn, of those that are not the given one, `[B, K]`."""
        share, num_classes = batch.share, self.num_classes
        assert share is not None
        size = (share.size, self.complementary)
        offsets = torch.randint(
            1, num_classes, size, generator=share.generator("complementary label")
        )
        ones = torch.ones(size)
        counts = torch.zeros(share.size, num_classes).scatter_add_(1, offsets, ones)
        device = batch.labels.device
        mine = share.take(counts).to(device, non_blocking=True)
        classes = torch.arange(num_classes, device=device)
        return mine.gather(1, (classes - batch.labels[:, None]) % num_classes)

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Probabilities, where they become soft labels."""
        wanted = self.stage[0] == TRUSTED and SOFT in self.stages
        return {"said": outputs["first"].probabilities} if wanted else {}

    def _remember_all(self, epoch: int) -> None:
        """What the network on the trusted says of all samples, in its last epochs."""
        left = self.stages[TRUSTED] - self.stage_of(epoch)[1]
        if SOFT in self.stages and left < len(self.history.values):
            self.history.place(epoch).copy_(self.measure().kept["said"])

    def scores(self) -> dict[str, Tensor]:
        """`remembered`: what was said in training of the given label, mean of the last epochs."""
        return {"remembered": self.confidence}
