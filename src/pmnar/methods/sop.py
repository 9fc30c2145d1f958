"""SOP and SOP+: every sample has parameters of its own that explain what is wrong in its label.

Liu et al., "Robust training under label noise by over-parameterization", ICML 2022. They need to
know nothing of the noise; the rates of the samples' parameters that suit depend on it.

Departures from its public code: u and v take their step of SGD in the rows that a batch has, where
the code steps through all; nothing is held out for validation. Cutout's hole is the code's, 0 once
normalised, where `dataset.views.cutout_fill` is `mean`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from pmnar.checks import check_reals
from pmnar.data.batches import Batch, Share
from pmnar.errors import InputError
from pmnar.losses import consistency
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses, Terms
from pmnar.runtime.seeding import derive_seed
from pmnar.samples.targets import LEAST, one_hot

INITIAL = 1e-8
"""Standard deviation of u and v at first."""


class SOP(NoisyLabelMethod):
    """The label is explained by p + u² at the given class − v² at the others.

    Args:
        setting: what all methods share.
        networks: 1.
        lr_given: learning rate of u, at least 0; constant.
        lr_other: learning rate of v, at least 0.
        balance: strength of the pull of a batch's mean prediction to the uniform one; SOP+: .1.
        consistency: strength of the agreement of the strong view with the weak; SOP+: .9.

    Attributes:
        given_noise: u, float32 `[N, 1]`.
        other_noise: v, float32 `[N, K]`.

    Raises:
        InputError: a value is out of its range.
    """

    given_noise: Tensor
    other_noise: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        lr_given: float = 1.0,
        lr_other: float = 10.0,
        balance: float = 0.0,
        consistency: float = 0.0,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for SOP, got {networks}")
        check_reals("at least 0", lr_given=lr_given, lr_other=lr_other)
        check_reals("at least 0", balance=balance, consistency=consistency)
        super().__init__(setting, networks=1)
        self.lr_given, self.lr_other = lr_given, lr_other
        self.balance, self.consistency = balance, consistency
        self.views = ("weak", "strong") if consistency > 0 else ("weak",)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "noise of samples"))
        for name, width in (("given_noise", 1), ("other_noise", self.num_classes)):
            drawn = torch.randn(len(self.labels), width, generator=generator)
            self.register_buffer(name, INITIAL * drawn.to(self.labels.device))

    def losses(self, batch: Batch) -> Losses:
        """Of the explained label, `[B]`: cross-entropy, the fit of u and v, consistency; balance.

        Both views go through one forward, which BatchNorm sees as one batch.
        """
        share = batch.share
        assert share is not None
        [together] = self.networks.logits((torch.cat(batch.views),))["first"]
        weak, *strong = together.chunk(len(batch.views))
        self._rows = self._leaves(batch)
        terms, explained = self._explain(weak, one_hot(batch.labels, self.num_classes), *self._rows)
        if self.balance > 0:
            terms["loss_balance"] = self.balance * _imbalance(explained, share)
        if strong:
            target = weak.detach().float().softmax(-1)
            terms["loss_consistency"] = self.consistency * consistency(strong[0], target)
        return {"first": terms}

    def _leaves(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's rows of u and v, of which backward leaves the gradient."""
        given, other = self.given_noise[batch.indices], self.other_noise[batch.indices]
        return given.requires_grad_(), other.requires_grad_()

    def _explain(
        self, logits: Tensor, label: Tensor, given: Tensor, other: Tensor
    ) -> tuple[Terms, Tensor]:
        """Terms `[B]`, and the distribution `[B, K]` that explains the label."""
        plus = given.square().clamp(0, 1) * label
        minus = other.square().clamp(0, 1) * (1 - label)
        p = logits.float().softmax(-1) if logits.dtype != torch.float64 else logits.softmax(-1)
        explained = (p + plus - minus.detach()).clamp_min(LEAST)
        explained = (explained / explained.sum(-1, keepdim=True)).clamp(LEAST, 1)
        predicted = F.one_hot(logits.argmax(-1), self.num_classes)
        fit = (predicted + plus - minus - label).square().sum(-1)
        return {"loss_first": -(label * explained.log()).sum(-1), "loss_noise": fit}, explained

    def after_step(self, batch: Batch) -> None:
        """A step of SGD for the batch's rows of u and v."""
        assert batch.share is not None
        buffers = (self.given_noise, self.lr_given), (self.other_noise, self.lr_other)
        for rows, (buffer, rate) in zip(self._rows, buffers, strict=True):
            if rows.grad is not None:
                # A rank's loss is so many times its part of the global mean.
                self.write(buffer, batch, rows - rate * rows.grad / batch.share.world)

    def scores(self) -> dict[str, Tensor]:
        """`noise`: u² of each sample, in [0, 1]: how much of its label is explained as noise."""
        return {"noise": self.given_noise.squeeze(-1).square().clamp(0, 1)}


def _imbalance(explained: Tensor, share: Share) -> Tensor:
    """`−Σ_k 1/K · log(mean over the global batch)_k`, a scalar, at least log K."""
    mean = share.whole(explained).mean(0).clamp(LEAST, 1)
    return -mean.log().mean()
