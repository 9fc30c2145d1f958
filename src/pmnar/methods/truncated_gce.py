"""Truncated generalised cross-entropy: what is hopeless is left out, and looked at again later.

Zhang and Sabuncu, "Generalized cross entropy loss for training deep neural networks with noisy
labels", NeurIPS 2018 (Algorithm 1). It needs to know nothing of the noise.

Departures: what is left out is decided by the network after the epoch before, un-augmented, where
the unofficial code takes the one with the best test accuracy so far.
"""

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import generalised_cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses


class TruncatedGCE(NoisyLabelMethod):
    """Generalised cross-entropy of the samples whose given label is likely enough.

    Args:
        setting: what all methods share.
        networks: 1.
        q: of the loss, in (0, 1]: towards 0 cross-entropy, at 1 the absolute error.
        threshold: a sample whose label has at most this probability is left out, in [0, 1).
        warmup_epochs: epochs before the first pruning, at least 0; 39: it is before the 40th.
        prune_every: epochs from one pruning to the next, at least 1.

    Attributes:
        kept: the samples that are trained on, bool `[N]`.

    Raises:
        InputError: a value is out of its range.
    """

    kept: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        q: float = 0.7,
        threshold: float = 0.5,
        warmup_epochs: int = 10,
        prune_every: int = 10,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for truncated GCE, got {networks}")
        check_reals("in (0, 1]", q=q)
        check_reals("in [0, 1)", threshold=threshold)
        check_counts(0, warmup_epochs=warmup_epochs)
        check_counts(1, prune_every=prune_every)
        super().__init__(setting, networks=1)
        self.q, self.threshold = q, threshold
        self.warmup_epochs, self.prune_every = warmup_epochs, prune_every
        self.register_buffer("kept", torch.ones(len(self.labels), dtype=torch.bool))

    def events(self) -> dict[str, int]:
        """The first pruning, which is the end of the warm-up."""
        return {"first pruning": self.warmup_epochs}

    def losses(self, batch: Batch) -> Losses:
        """The loss where a sample is kept, and what it is at the threshold elsewhere, `[B]`."""
        [logits] = self.networks.logits(batch.views)["first"]
        loss = generalised_cross_entropy(logits, batch.labels, self.q)
        truncated = (1 - self.threshold**self.q) / self.q
        return {"first": {"loss_first": torch.where(self.kept[batch.indices], loss, truncated)}}

    def prepare_epoch(self, epoch: int) -> None:
        """Every so many epochs after the first pruning: keep what is likely enough now."""
        since = epoch - 1 - self.warmup_epochs
        if since >= 0 and since % self.prune_every == 0:
            self.kept.copy_(self.measure().confidence["first"] > self.threshold)
        self.record["kept"] = float(self.kept.double().mean())

    def scores(self) -> dict[str, Tensor]:
        """`kept`: 1 where the sample is trained on, 0 where it is left out."""
        return {"kept": self.kept.float()}
