"""L2RW: a sample weighs as much as a step on it would lower the loss of samples with true labels.

Ren, Zeng, Yang and Urtasun, "Learning to reweight examples for robust deep learning", ICML 2018. It
needs a few samples with true labels (`data.clean`), and to know nothing of the noise.

Departures from its public code: the weights' derivatives are exact but without a graph of a graph
(see `LooksAhead`); weight decay is no part of the clean loss; BatchNorm's running statistics are of
the weighted batches alone.
"""

import torch
from torch import Tensor

from pmnar.data.batches import Batch
from pmnar.losses import cross_entropy
from pmnar.methods.clean_samples import LooksAhead
from pmnar.methods.terms import Losses
from pmnar.names import CLEAN


class L2RW(LooksAhead):
    """Cross-entropy, weighted anew in each step; the weights of a batch sum to 1.

    Args:
        setting: what all methods share.
        networks: 1.
        clean_batch_size: samples in a batch with true labels, at least 2; None: `data.batch_size`.

    Attributes:
        sample_weights: of each sample when it was last seen, times the size of its batch, `[N]`, at
            least 0; at first 1.

    Raises:
        InputError: a value is out of its range.
    """

    def losses(self, batch: Batch) -> Losses:
        """Weighted cross-entropy, `[B]`: its mean over the global batch is the weighted sum."""
        share = batch.share
        assert share is not None
        weights = share.take(share.size * self.weights_of(batch))
        self.write(self.sample_weights, batch, weights)
        [z] = self.networks.logits(batch.views)["first"]
        loss = cross_entropy(z, batch.labels)
        return {"first": {"loss_first": weights.to(loss.dtype) * loss}}

    def weights_of(self, batch: Batch) -> Tensor:
        """Weights of the global batch, `[size]`, at least 0.

        They sum to 1; where a step on no sample would lower the clean loss, all are 0.
        """
        assert batch.share is not None
        now = self.parameters_now()
        along = self.clean_gradient(now, batch.parts[CLEAN])
        useful = batch.share.whole(self.alignment(now, batch, along)).clamp_min(0)
        total = useful.sum()
        return useful / torch.where(total > 0, total, 1)

    def prepare_epoch(self, epoch: int) -> None:
        """Record how many samples are learnt from."""
        self.record["weighted_share"] = float((self.sample_weights > 0).double().mean())
