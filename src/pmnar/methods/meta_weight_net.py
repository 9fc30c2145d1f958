"""Meta-Weight-Net: a small network tells each sample's weight from its loss, taught by true labels.

Shu et al., "Meta-Weight-Net: learning an explicit mapping for sample weighting", NeurIPS 2019. It
needs a few samples with true labels (`data.clean`), and to know nothing of the noise.

Departure from its public code: the gradient for the small network is exact but without a graph of
a graph (see `LooksAhead`).
"""

from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.losses import cross_entropy
from pmnar.methods.clean_samples import LooksAhead, global_gradient
from pmnar.methods.scorer import Scorer
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.names import CLEAN
from pmnar.runtime.seeding import derive_seed


class MetaWeightNet(LooksAhead):
    """Cross-entropy, times what the small network V says of it; the mean is over the batch.

    In each step V is taught first: by the loss of clean samples after a step of plain SGD on the
    losses that V weighs.

    Args:
        setting: what all methods share.
        networks: 1.
        clean_batch_size: samples in a batch with true labels, at least 2; None: `data.batch_size`.
        hidden_units: of V, at least 1.
        weighing_rate: learning rate of V, at least 0.
        weighing_decay: its weight decay, at least 0.

    Attributes:
        weighing: V: one layer of hidden units, of a sample's loss.
        sample_weights: what V gave each sample when it was last seen, `[N]` in [0, 1]; at first 1.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        clean_batch_size: int | None = None,
        hidden_units: int = 100,
        weighing_rate: float = 1e-3,
        weighing_decay: float = 1e-4,
    ) -> None:
        check_counts(1, hidden_units=hidden_units)
        check_reals("at least 0", weighing_rate=weighing_rate, weighing_decay=weighing_decay)
        super().__init__(setting, networks=networks, clean_batch_size=clean_batch_size)
        self.weighing_rate, self.weighing_decay = weighing_rate, weighing_decay
        seed = derive_seed(self.seed, "weighing")
        self.weighing = Scorer(1, hidden_units, torch.relu, seed, self.labels.device)

    def configure_optimizers(self) -> Any:
        """As for all methods; the step ahead has the optimiser's rate."""
        found = super().configure_optimizers()
        self._optimizer = found["optimizer"]
        return found

    def losses(self, batch: Batch) -> Losses:
        """Weighted cross-entropy, `[B]`, after V has been taught."""
        gradient = self.weighing_gradient(batch)
        self.weighing.learn(gradient, self.weighing_rate, self.weighing_decay)
        [z] = self.networks.logits(batch.views)["first"]
        loss = cross_entropy(z, batch.labels)
        weights = self.weigh(loss.detach())
        self.write(self.sample_weights, batch, weights)
        return {"first": {"loss_first": weights.to(loss.dtype) * loss}}

    def weigh(self, losses: Tensor, parameters: Tensor | None = None) -> Tensor:
        """V of losses `[B]`: weights in [0, 1], `[B]`; by other parameters where given."""
        return self.weighing.of(losses[:, None], parameters).sigmoid()

    def weighing_gradient(self, batch: Batch) -> Tensor:
        """Of the clean batch's loss after a step, by V's parameters, over all ranks.

        By a sample's weight it is −(rate / B) ⟨∇l_i, ∇clean loss after the step⟩.
        """
        share = batch.share
        assert share is not None
        now = self.parameters_now()
        loss = self.losses_with(now, batch)
        leaf = self.weighing.leaf()
        weights = self.weigh(loss.detach(), leaf)
        steps = global_gradient(share.mean(weights.detach() * loss), list(now.values()), share)
        rate = float(self._optimizer.param_groups[0]["lr"])
        ahead = {
            name: (parameter.detach() - rate * step).requires_grad_()
            for (name, parameter), step in zip(now.items(), steps, strict=True)
        }
        along = self.clean_gradient(ahead, batch.parts[CLEAN])
        slopes = -rate * self.alignment(now, batch, along)
        [gradient] = global_gradient(share.mean(slopes * weights), [leaf], share)
        return gradient

    def prepare_epoch(self, epoch: int) -> None:
        """Record how much is learnt from."""
        self.record["weight"] = float(self.sample_weights.mean())
