"""MentorNet with its predefined curriculum: a mentor says which samples a network learns from.

Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on corrupted
labels", ICML 2018. It needs to know nothing of the noise; the percentile that suits depends on it.

Departures from its public code: the curriculum is its closed form, which the network that comes
with the code was trained to imitate; weight decay does not fall with the weights' mean; progress is
counted in epochs of the curriculum's own length.
"""

from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch, Share
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses


class MentorNet(NoisyLabelMethod):
    """Cross-entropy, weighted by a mentor that goes by how a loss compares with others of late.

    A method of this kind says in `losses` who the mentor is.

    Args:
        setting: what all methods share.
        curriculum_epochs: epochs that the curriculum is for, at least 1: it goes by the share of
            them that is done.
        networks: 1.
        percentile: of a batch's losses, in (0, 1): each is compared with the moving mean of it.
        decay: the share of that mean that a step leaves, in [0, 1).
        burn_in: share of the curriculum in which all weigh 1, in [0, 1].
        dropout: share of a batch left out at random, in [0, 1).
        first_dropout: the same at first.
        first_dropout_until: share of the curriculum that is meant by that, in [0, 1].

    Attributes:
        threshold: the moving mean, float32 `[]`, at first 0.
        sample_weights: what the mentor gave each sample when it was last seen, `[N]` in [0, 1].

    Raises:
        InputError: a value is out of its range.
    """

    threshold: Tensor
    sample_weights: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        curriculum_epochs: int,
        networks: int = 1,
        percentile: float = 0.7,
        decay: float = 0.5,
        burn_in: float = 0.19,
        dropout: float = 0.05,
        first_dropout: float = 0.5,
        first_dropout_until: float = 0.17,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for MentorNet, got {networks}")
        check_counts(1, curriculum_epochs=curriculum_epochs)
        check_reals("in (0, 1)", percentile=percentile)
        check_reals("in [0, 1)", decay=decay, dropout=dropout, first_dropout=first_dropout)
        check_reals("in [0, 1]", burn_in=burn_in, first_dropout_until=first_dropout_until)
        super().__init__(setting, networks=1)
        self.curriculum_epochs, self.percentile, self.decay = curriculum_epochs, percentile, decay
        self.burn_in, self.dropout, self.first_dropout = burn_in, dropout, first_dropout
        self.first_dropout_until = first_dropout_until
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("sample_weights", torch.ones(len(self.labels)))

    @property
    def done(self) -> float:
        """The share of the curriculum that is done, in [0, 1]."""
        return min(self.epochs_done / self.curriculum_epochs, 1.0)

    def advice(self, epochs: int) -> str | None:
        """That a run does not come to the curriculum's end."""
        if epochs >= self.curriculum_epochs:
            return None
        return (
            f"the curriculum is for method.curriculum_epochs={self.curriculum_epochs} epochs, and "
            f"trainer.max_epochs={epochs}: dataset.recipe.max_epochs={epochs} shortens both"
        )

    def follow(self, losses: Tensor) -> None:
        """Let the threshold take in the losses of a global batch, `[size]`."""
        now = losses.float().quantile(self.percentile)
        self.threshold.copy_(self.decay * self.threshold + (1 - self.decay) * now)

    @property
    def dropout_now(self) -> float:
        """The share of a batch that is left out at random at this time."""
        return self.first_dropout if self.done < self.first_dropout_until else self.dropout

    def kept(self, share: Share, device: torch.device) -> Tensor:
        """Which of this rank's samples of a batch are not left out at random, bool `[B]`."""
        return share.take(self._kept(share).to(device, non_blocking=True))

    def _kept(self, share: Share) -> Tensor:
        """Of the global batch, bool `[size]`."""
        order = torch.randperm(share.size, generator=share.generator("dropout of samples"))
        kept = torch.zeros(share.size, dtype=torch.bool)
        kept[order[: max(int(share.size * (1 - self.dropout_now)), 1)]] = True
        return kept

    def prepare_epoch(self, epoch: int) -> None:
        """Record the threshold and how much is learnt from."""
        self.record["threshold"] = float(self.threshold)
        self.record["weight"] = float(self.sample_weights.mean())

    @property
    def weights(self) -> Tensor:
        """What the mentor gave each sample when it was last seen."""
        return self.sample_weights

    def events(self) -> dict[str, int]:
        """The end of the time in which all weigh 1."""
        return self._at({"burn-in ends": self.burn_in})

    def _at(self, shares: dict[str, float]) -> dict[str, int]:
        """The epochs that are shares of the curriculum."""
        return {name: round(share * self.curriculum_epochs) for name, share in shares.items()}


class MentorNetPD(MentorNet):
    """The mentor is a curriculum: all samples, then the easy ones, then the easier the more.

    Args:
        setting: what all methods share.
        linear_from: share of the curriculum after which a weight falls with the loss, in
            [burn_in, 1]; before, a sample is easy whose loss is at most the threshold.
        gamma: the loss beyond the threshold at which it is 0 then, over 0.
        **settings: of `MentorNet`.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self, setting: Setting, *, linear_from: float = 0.9, gamma: float = 1.0, **settings: Any
    ) -> None:
        check_reals("over 0", gamma=gamma)
        check_reals("in [0, 1]", linear_from=linear_from)
        super().__init__(setting, **settings)
        if not self.burn_in <= linear_from <= 1:
            raise InputError(
                f"method.linear_from must be in [{self.burn_in}, 1], got {linear_from}"
            )
        self.linear_from, self.gamma = linear_from, gamma

    def losses(self, batch: Batch) -> Losses:
        """Weighted cross-entropy, `[B]`; the mean is over the batch, whatever the weights."""
        share = batch.share
        assert share is not None
        [z] = self.networks.logits(batch.views)["first"]
        loss = cross_entropy(z, batch.labels)
        whole = share.whole(loss.detach())
        self.follow(whole)
        weights = share.take(self.curriculum(whole - self.threshold))
        self.write(self.sample_weights, batch, weights)
        kept = self.kept(share, loss.device)
        return {"first": {"loss_first": kept * weights.to(loss.dtype) * loss}}

    def curriculum(self, excess: Tensor) -> Tensor:
        """The mentor's weights in [0, 1] of losses less the threshold."""
        if self.done < self.burn_in:
            return torch.ones_like(excess)
        if self.done < self.linear_from:
            return (excess <= 0).to(excess.dtype)
        return (1 - excess / self.gamma).clamp(0, 1)

    def scores(self) -> dict[str, Tensor]:
        """`ease`: the threshold less the label's loss, of the image as it is: over 0, easy."""
        confidence = self.measure().confidence["first"]
        return {"ease": self.threshold + confidence.clamp_min(torch.finfo().tiny).log()}

    def events(self) -> dict[str, int]:
        """The ends of the curriculum's parts."""
        return super().events() | self._at({"linear weights begin": self.linear_from})
