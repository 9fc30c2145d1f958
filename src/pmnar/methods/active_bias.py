"""Active bias: samples that the network is unsure of, or of two minds about, count for more.

Chang, Learned-Miller and McCallum, "Active bias: training more accurate neural networks by
emphasizing high variance samples", NeurIPS 2017: SGD weighted by prediction variance, or by
closeness to the threshold. It needs to know nothing of the noise.

Departures: predictions are remembered as counts, means and sums of squares, which give the same as
the paper's lists; the recipe is the data set's own. UNVERIFIED, and so a switch: what is added to
all weights, by the paper's text their mean over the data; the unofficial code has .2.
"""

import torch
from torch import Tensor

from pmnar.checks import check_counts
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.methods.warm_up import ends_in_warm_up

VARIANCE, CLOSENESS, MEAN = "variance", "closeness", "mean"


class ActiveBias(NoisyLabelMethod):
    """Cross-entropy, weighted by what was predicted of each sample in training so far.

    Args:
        setting: what all methods share.
        networks: 1.
        by: `variance` of the given label's probability; `closeness` of its mean to one half.
        warmup_epochs: epochs in which all weigh the same, at least 0.
        smoothing: what is added to all weights, at least 0; or `mean`, their mean over the data.

    Attributes:
        history: of each sample's p_y in training: how many, their mean, and the sum of squares of
            their differences from it (Welford), float64 `[N, 3]`.
        added: what is added to the weights in this epoch, float64 `[]`.

    Raises:
        InputError: a value is out of its range.
    """

    history: Tensor
    added: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        by: str = VARIANCE,
        warmup_epochs: int = 15,
        smoothing: float | str = MEAN,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for active bias, got {networks}")
        if by not in (VARIANCE, CLOSENESS):
            raise InputError(f"method.by must be {VARIANCE} or {CLOSENESS}, got {by}")
        check_counts(0, warmup_epochs=warmup_epochs)
        told = 0.0 if smoothing == MEAN else smoothing
        if not isinstance(told, int | float) or not 0 <= told < float("inf"):
            raise InputError(f"method.smoothing must be at least 0 or {MEAN}, got {smoothing}")
        super().__init__(setting, networks=1)
        self.by, self.warmup_epochs, self.smoothing = by, warmup_epochs, smoothing
        device = self.labels.device
        size = (len(self.labels), 3)
        self.register_buffer("history", torch.zeros(size, dtype=torch.float64, device=device))
        self.register_buffer("added", torch.tensor(told, dtype=torch.float64, device=device))

    def prepare_epoch(self, epoch: int) -> None:
        """Find the mean of all weights, where it is what is added to them."""
        if self.smoothing == MEAN:
            self.added.copy_(uncertainty(self.history, self.by).mean())
        if epoch > self.warmup_epochs:
            self.record["weight_spread"] = float(self._all_weights().std(correction=0))

    def losses(self, batch: Batch) -> Losses:
        """Weighted cross-entropy, `[B]`; the weights' mean over the global batch is 1."""
        assert batch.share is not None
        [z] = self.networks.logits(batch.views)["first"]
        loss = cross_entropy(z, batch.labels)
        before = self.history[batch.indices]
        self.write(self.history, batch, remembered(before, torch.exp(-loss.detach())))
        if self.current_epoch < self.warmup_epochs:
            return {"first": {"loss_first": loss}}
        weights = batch.share.whole(uncertainty(before, self.by) + self.added)
        mine = batch.share.take(of_mean_one(weights))
        return {"first": {"loss_first": mine.to(loss.dtype) * loss}}

    @property
    def weights(self) -> Tensor | None:
        """Of all samples, of mean 1, `[N]`, as the next epoch would begin with them."""
        return None if self.current_epoch < self.warmup_epochs else self._all_weights()

    def _all_weights(self) -> Tensor:
        return of_mean_one(uncertainty(self.history, self.by) + self.added).float()

    def advice(self, epochs: int) -> str | None:
        """That a run ends within its warm-up."""
        so = "the samples are never weighted"
        return ends_in_warm_up(self.warmup_epochs, epochs, so)

    def events(self) -> dict[str, int]:
        """The end of the warm-up."""
        return {"warm-up ends": self.warmup_epochs} if self.warmup_epochs else {}

    @property
    def suspects_by(self) -> str:
        """What was predicted in all of training."""
        return "remembered"

    def scores(self) -> dict[str, Tensor]:
        """`remembered`: mean p_y of all of training, in [0, 1]; `spread`: its deviation."""
        count, mean, squares = self.history.unbind(-1)
        spread = (squares / count.clamp_min(1)).sqrt()
        return {"remembered": mean.float(), "spread": spread.float()}


def remembered(history: Tensor, value: Tensor) -> Tensor:
    """Rows `[B, 3]` of counts, means and squares, after they have taken in a value each."""
    count, mean, squares = history.unbind(-1)
    value = value.to(history.dtype)
    difference, count = value - mean, count + 1
    mean = mean + difference / count
    return torch.stack([count, mean, squares + difference * (value - mean)], -1)


def uncertainty(history: Tensor, by: str) -> Tensor:
    """How unsure a sample's history `[…, 3]` is, at least 0, `[…]`; 0 of one without any.

    By variance `√(var + var² / (n − 1))`, the deviation and what it may be wrong by; by closeness
    `p̄ (1 − p̄)`.
    """
    count, mean, squares = history.unbind(-1)
    if by == CLOSENESS:
        return mean * (1 - mean)
    variance = squares / count.clamp_min(1)
    return (variance + variance.square() / (count - 1).clamp_min(1)).sqrt()


def of_mean_one(weights: Tensor) -> Tensor:
    """Weights in proportion, of mean 1; all 1 where all are 0."""
    mean = weights.mean()
    return torch.where(mean > 0, weights / torch.where(mean > 0, mean, 1), 1)
