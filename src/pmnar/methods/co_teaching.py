"""Co-teaching and Co-teaching+: two networks, each trained on what the other finds easy.

Han et al., "Co-teaching: robust training of deep neural networks with extremely noisy labels",
NeurIPS 2018; Yu et al., "How does disagreement help generalization against label corruption?", ICML
2019. They need to know how many labels are wrong: `forget_rate`, the share of every batch that is
left out in the end; `estimate` is ours.

Departures from their public codes: the loss is the mean over the samples kept, where the codes
divide a mean by their number once more, which Adam hides; the share left out rises with `exponent`
acting on the epoch, as the paper has it, not on the rate (it is reached in the codes' tenth epoch,
where the paper's formula comes to it in the next); Co-teaching+ takes the cross-entropy of
logits, not of probabilities, and trains on nothing, not on everything, where all predictions agree;
the recipe is the data set's own (Co-teaching's: `network=cnn9`, Adam at .001, no augmentation, 200
epochs), but for the epochs of Co-teaching that Co-teaching+ begins with.
"""

from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.networks import Logits
from pmnar.methods.noise_rate import estimated_rate, told_rate
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.runtime.seeding import derive_seed
from pmnar.samples.selection import small_loss
from pmnar.samples.targets import LEAST


class CoTeaching(NoisyLabelMethod):
    """Co-teaching (Algorithm 1).

    Args:
        setting: what all methods share.
        networks: 2.
        forget_rate: share of a batch left out after `gradual_epochs`, in [0, 1): the noise rate; or
            `estimate`, from the losses while that share rises.
        gradual_epochs: epochs over which it rises, from 0 in the first of them to all of it in
            the last (with 1 in the one after), at least 1.
        exponent: how it rises: with (epochs done / (gradual_epochs − 1)) to this power, over 0.

    Attributes:
        estimated: the rate as it is estimated, float64 `[]`; None where it is told.

    Raises:
        InputError: a value is out of its range.
    """

    losses_are_apart = True
    estimated: Tensor | None

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 2,
        forget_rate: float | str = 0.2,
        gradual_epochs: int = 10,
        exponent: float = 1.0,
    ) -> None:
        if networks != 2:
            raise InputError(f"method.networks must be 2, which teach each other, got {networks}")
        told = told_rate(forget_rate)
        check_counts(1, gradual_epochs=gradual_epochs)
        check_reals("over 0", exponent=exponent)
        super().__init__(setting, networks=2)
        self.forget_rate, self.gradual_epochs, self.exponent = told, gradual_epochs, exponent
        unknown = torch.zeros((), dtype=torch.float64, device=self.labels.device)
        self.register_buffer("estimated", unknown if told is None else None)

    def events(self) -> dict[str, int]:
        """When all that is to be left out is."""
        return {"forget_rate reached": self._rising}

    def advice(self, epochs: int) -> str | None:
        """What the method takes for the noise rate, where it is told."""
        if self.forget_rate is None:
            return None
        return (
            f"{self.forget_rate:.1%} of each batch is left out in the end, which should be the "
            "share of wrong labels: method.forget_rate sets it"
        )

    @property
    def _rising(self) -> int:
        """Epochs that are done before all of that share is left out."""
        return max(self.gradual_epochs - 1, 1)

    @property
    def keep(self) -> float | Tensor:
        """The share of a batch that is trained on in this epoch, in (0, 1]; all in the first."""
        risen: float = min((self.current_epoch / self._rising) ** self.exponent, 1.0)
        rate = self.estimated if self.forget_rate is None else self.forget_rate
        assert rate is not None
        return 1 - rate * risen

    def prepare_epoch(self, epoch: int) -> None:
        """While the share rises: estimate the noise rate, before its samples are memorised.

        From the mean of both networks' cross-entropies, un-augmented (see `estimated_rate`).
        """
        if self.estimated is None:
            return
        if 1 < epoch <= self._rising + 1:
            confidences = torch.stack(list(self.measure().confidence.values()))
            losses = -confidences.clamp_min(LEAST).log().mean(0)
            seed = derive_seed(self.seed, "noise rate", epoch)
            self.estimated.copy_(estimated_rate(losses, seed))
        self.record["forget_rate"] = float(self.estimated)

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy of the samples whose loss is small in the other network, `[B]` each."""
        share = batch.share
        assert share is not None
        logits = self.networks.logits(batch.views)
        loss = {name: cross_entropy(z, batch.labels) for name, (z,) in logits.items()}
        among = self._candidates(logits)
        if among is not None:
            among = share.whole(among)
        easy = {
            name: small_loss(share.whole(each.detach()), self.keep, among)
            for name, each in loss.items()
        }
        return {
            name: {f"loss_{name}": share.take(easy[peer]) * loss[name]}
            for name, peer in self.peers.items()
        }

    def _candidates(self, logits: Logits) -> Tensor | None:
        """Which of this rank's samples may be trained on, bool `[B]`; None: all."""
        return None


class CoTeachingPlus(CoTeaching):
    """Co-teaching among the samples whose class the two networks predict differently.

    Args:
        setting: what all methods share.
        warmup_epochs: epochs of Co-teaching, at least 0.
        **shared: see `CoTeaching`.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        warmup_epochs: int = 10,
        **shared: Any,
    ) -> None:
        check_counts(0, warmup_epochs=warmup_epochs)
        super().__init__(setting, **shared)
        self.warmup_epochs = warmup_epochs

    def events(self) -> dict[str, int]:
        """The end of the warm-up too."""
        return super().events() | {"warm-up ends": self.warmup_epochs}

    def _candidates(self, logits: Logits) -> Tensor | None:
        if self.current_epoch < self.warmup_epochs:
            return None
        [first], [second] = logits.values()
        return first.argmax(-1) != second.argmax(-1)
