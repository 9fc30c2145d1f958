"""ELR and ELR+: what was learned early is held against what is memorised later.

Liu et al., "Early-learning regularization prevents memorization of noisy labels", NeurIPS 2020.
Neither needs to know anything of the noise; the strength and memory that suit depend on it.

Departures of ELR+ from its public code: both networks step together, where the code trains one
through an epoch and then the other; the re-weighted target is a switch, not a matter of having
100 classes. As in the code's path for one GPU: teachers normalise by the batch, and what is tested
are the networks, not their averages.
"""

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, soft_cross_entropy
from pmnar.methods.averages import Averages
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.mixing import Mixing
from pmnar.methods.ramps import ramp
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.samples.targets import clipped, one_hot


class ELR(NoisyLabelMethod):
    """Cross-entropy + λ · log(1 − ⟨t, p⟩), t being a running mean of each sample's predictions.

    Args:
        setting: what all methods share.
        networks: 1, or 2, each with targets of its own.
        strength: λ, at least 0; 0 is cross-entropy.
        memory: β in [0, 1): the share of a target that stays when its sample is seen again.

    Attributes:
        targets: t of each network and sample, float32 `[networks, N, K]`, at first 0.

    Raises:
        InputError: a value is out of its range.
    """

    losses_are_apart = True
    targets: Tensor

    def __init__(
        self, setting: Setting, *, networks: int = 1, strength: float = 3.0, memory: float = 0.7
    ) -> None:
        check_reals("at least 0", strength=strength)
        check_reals("in [0, 1)", memory=memory)
        super().__init__(setting, networks=networks)
        self.strength, self.memory = strength, memory
        size = (networks, len(self.labels), self.num_classes)
        self.register_buffer("targets", torch.zeros(size))

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy and the regulariser of each network, `[B]` each; targets come first."""
        logits, found = self.networks.logits(batch.views), {}
        for targets, (name, (z,)) in zip(self.targets, logits.items(), strict=True):
            p = clipped(z)
            target = self._remembered(targets, batch, p / p.sum(-1, keepdim=True))
            found[name] = {
                f"loss_{name}": cross_entropy(z, batch.labels),
                "loss_early": self.strength * disagreement(target, z),
            }
        return found

    def _remembered(self, targets: Tensor, batch: Batch, predicted: Tensor) -> Tensor:
        """The batch's rows of targets `[N, K]`, after they have taken in what is predicted."""
        before = targets[batch.indices]
        self.write(targets, batch, self.memory * before + (1 - self.memory) * predicted)
        return targets[batch.indices]

    def scores(self) -> dict[str, Tensor]:
        """`target`: what the targets give the given label, mean of the networks, in [0, 1]."""
        given = self.labels[None, :, None].expand(len(self.targets), -1, 1)
        return {"target": self.targets.gather(-1, given).squeeze(-1).mean(0)}


class ELRPlus(ELR):
    """ELR of two networks on mixed images; targets are of the other network's moving average.

    Args:
        setting: what all methods share.
        networks: 2.
        strength: λ, at least 0.
        memory: β in [0, 1).
        alpha: of MixUp, over 0.
        reweight_labels: multiply the mixed label by the mixed target, and normalise.
        strength_ramp: steps over which λ rises from nearly 0; 0: none.
        decay: share of an average that a step leaves, in [0, 1).
        average_ramp: steps over which that share rises from nearly 0; 0: it is at most 1 − 1/step.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 2,
        strength: float = 3.0,
        memory: float = 0.7,
        alpha: float = 1.0,
        reweight_labels: bool = False,
        strength_ramp: int = 0,
        decay: float = 0.997,
        average_ramp: int = 40_000,
    ) -> None:
        if networks != 2:
            raise InputError(f"method.networks must be 2 for ELR+, got {networks}")
        check_reals("over 0", alpha=alpha)
        check_reals("in [0, 1)", decay=decay)
        check_counts(0, strength_ramp=strength_ramp, average_ramp=average_ramp)
        super().__init__(setting, networks=2, strength=strength, memory=memory)
        self.alpha, self.reweight_labels = alpha, reweight_labels
        self.strength_ramp, self.decay, self.average_ramp = strength_ramp, decay, average_ramp
        self.averages = Averages(self.networks, parameters_alone=True)

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy and the regulariser of each network, of mixed images, `[B]` each."""
        assert batch.share is not None
        mixing = Mixing([batch.share], self.alpha, larger=True)
        said = self.averages.logits(batch.views, training=True)
        logits = self.networks.logits((mixing(batch.views),))
        labels = mixing([one_hot(batch.labels, self.num_classes)])
        strength, found = self.strength * ramp(self.global_step, self.strength_ramp), {}
        for targets, (name, peer) in zip(self.targets, self.peers.items(), strict=True):
            [teacher], [z] = said[peer], logits[name]
            target = mixing([self._remembered(targets, batch, teacher.float().softmax(-1))])
            found[name] = {
                f"loss_{name}": soft_cross_entropy(z, self._label(labels, target)),
                "loss_early": strength * disagreement(target, z),
            }
        return found

    def _label(self, labels: Tensor, target: Tensor) -> Tensor:
        if not self.reweight_labels:
            return labels
        both = labels * target
        # Where the target has nothing for either label there is no label.
        return both / both.sum(-1, keepdim=True).clamp_min(torch.finfo(both.dtype).tiny)

    def after_step(self, batch: Batch) -> None:
        """Let the averages follow."""
        done = self.global_step  # steps, this one too
        if self.average_ramp:
            decay = self.decay * ramp(done, self.average_ramp)
        else:
            decay = min(self.decay, 1 - 1 / max(done, 1))
        self.averages.follow(self.networks, decay)


def disagreement(target: Tensor, logits: Tensor) -> Tensor:
    """`log(1 − ⟨t, p⟩)`, `[B]`, at most 0: the less, the more p agrees with t `[B, K]`."""
    return torch.log(1 - (target * clipped(logits)).sum(-1))
