"""Co-teaching and Co-teaching+: two networks, each trained on what the other finds easy.

Han et al., "Co-teaching: robust training of deep neural networks with extremely noisy labels",
NeurIPS 2018; Yu et al., "How does disagreement help generalization against label corruption?", ICML
2019. They need to know how many labels are wrong: `forget_rate`, the share of every batch that is
left out in the end.

Departures from their public codes: the loss is the mean over the samples kept, where the codes
divide a mean by their number once more, which Adam hides; the share left out rises with `exponent`
acting on the epoch, as the paper has it, not on the rate; Co-teaching+ takes the cross-entropy of
logits, not of probabilities, and trains on nothing, not on everything, where all predictions agree;
the recipe is the data set's own (the papers': a 9-layer network, Adam at .001, no augmentation, 200
epochs).
"""

from torch import Tensor

from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.networks import Logits
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.samples.selection import small_loss


class CoTeaching(NoisyLabelMethod):
    """Co-teaching (Algorithm 1).

    Args:
        setting: what all methods share.
        networks: 2.
        forget_rate: share of a batch left out after `gradual_epochs`, in [0, 1): the noise rate.
        gradual_epochs: epochs over which it rises from 0, at least 1.
        exponent: how it rises: with (epochs done / gradual_epochs) to this power, over 0.

    Raises:
        InputError: a value is out of its range.
    """

    losses_are_apart = True

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 2,
        forget_rate: float = 0.2,
        gradual_epochs: int = 10,
        exponent: float = 1.0,
    ) -> None:
        if networks != 2:
            raise InputError(f"method.networks must be 2, which teach each other, got {networks}")
        if not 0 <= forget_rate < 1:
            raise InputError(f"method.forget_rate must be in [0, 1), got {forget_rate}")
        if gradual_epochs < 1:
            raise InputError(f"method.gradual_epochs must be at least 1, got {gradual_epochs}")
        if not exponent > 0:
            raise InputError(f"method.exponent must be over 0, got {exponent}")
        super().__init__(setting, networks=2)
        self.forget_rate, self.gradual_epochs = forget_rate, gradual_epochs
        self.exponent = exponent

    def advice(self, epochs: int) -> str:
        """What the method takes for the noise rate: it is told, and cannot find out."""
        return (
            f"Co-teaching leaves {self.forget_rate:.1%} of each batch out in the end, which should "
            "be the share of wrong labels: method.forget_rate sets it"
        )

    @property
    def keep(self) -> float:
        """The share of a batch that is trained on in this epoch, in (0, 1]; all in the first."""
        risen: float = min((self.current_epoch / self.gradual_epochs) ** self.exponent, 1.0)
        return 1 - self.forget_rate * risen

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
        networks: 2.
        forget_rate: share of the candidates left out after `gradual_epochs`, in [0, 1).
        gradual_epochs: epochs over which it rises from 0, at least 1.
        exponent: how it rises, over 0.
        warmup_epochs: epochs of Co-teaching, at least 0.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 2,
        forget_rate: float = 0.2,
        gradual_epochs: int = 10,
        exponent: float = 1.0,
        warmup_epochs: int = 20,
    ) -> None:
        if warmup_epochs < 0:
            raise InputError(f"method.warmup_epochs must be at least 0, got {warmup_epochs}")
        super().__init__(
            setting,
            networks=networks,
            forget_rate=forget_rate,
            gradual_epochs=gradual_epochs,
            exponent=exponent,
        )
        self.warmup_epochs = warmup_epochs

    def _candidates(self, logits: Logits) -> Tensor | None:
        if self.current_epoch < self.warmup_epochs:
            return None
        [first], [second] = logits.values()
        return first.argmax(-1) != second.argmax(-1)
