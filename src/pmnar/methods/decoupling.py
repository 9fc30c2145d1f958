"""Decoupling: two networks, trained where they disagree.

Malach and Shalev-Shwartz, "Decoupling 'when to update' from 'how to update'", NeurIPS 2017. It
needs to know nothing of the noise.

Departures from its public code: the beginning on all samples is counted in epochs; a step without
a disagreement is taken with a gradient of 0; the recipe is the data set's own.
"""

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses


class Decoupling(NoisyLabelMethod):
    """Cross-entropy of the samples whose class the two networks predict differently.

    Args:
        setting: what all methods share.
        networks: 2.
        warmup_epochs: epochs with all samples, at least 0.
        least_share: the sum over those samples is divided by their number, but at least by this
            share of the batch, in (0, 1].

    Raises:
        InputError: a value is out of its range.
    """

    losses_are_apart = True

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 2,
        warmup_epochs: int = 0,
        least_share: float = 0.1,
    ) -> None:
        if networks != 2:
            raise InputError(f"method.networks must be 2 for Decoupling, got {networks}")
        check_counts(0, warmup_epochs=warmup_epochs)
        check_reals("in (0, 1]", least_share=least_share)
        super().__init__(setting, networks=2)
        self.warmup_epochs, self.least_share = warmup_epochs, least_share

    def events(self) -> dict[str, int]:
        """The end of the warm-up."""
        return {"warm-up ends": self.warmup_epochs}

    def losses(self, batch: Batch) -> Losses:
        """Each network's cross-entropy where they disagree, `[B]`."""
        share = batch.share
        assert share is not None
        logits = {name: z for name, (z,) in self.networks.logits(batch.views).items()}
        loss = {name: cross_entropy(z, batch.labels) for name, z in logits.items()}
        if self.current_epoch >= self.warmup_epochs:
            first, second = logits.values()
            differ = share.whole(first.argmax(-1) != second.argmax(-1)).float()
            factors = share.take(differ / differ.mean().clamp_min(self.least_share))
            loss = {name: factors * each for name, each in loss.items()}
        return {name: {f"loss_{name}": each} for name, each in loss.items()}
