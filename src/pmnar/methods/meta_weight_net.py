"""Meta-Weight-Net: a small network tells each sample's weight from its loss, taught by true labels.

Shu et al., "Meta-Weight-Net: learning an explicit mapping for sample weighting", NeurIPS 2019. It
needs a few samples with true labels (`data.clean`), and to know nothing of the noise.

Departures from its public code: the gradient for the small network is exact but without a graph of a
graph (see `LooksAhead`); the looks ahead leave no mark on BatchNorm's running statistics, as there.
"""

from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.losses import cross_entropy
from pmnar.methods.clean_samples import LooksAhead, global_gradient
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.names import CLEAN
from pmnar.runtime.seeding import derive_seed

DECAYS = 0.9, 0.999
"""Of Adam's moving means of the gradient and of its square."""
LEAST = 1e-8


class MetaWeightNet(LooksAhead):
    """Cross-entropy, times what the small network V says of it; the mean is over the batch.

    In each step V is taught first: by the loss of clean samples after a step of plain SGD on the
    losses that V weighs. V is one layer of hidden units; its parameters are buffers, as no loss of
    the network's reaches them, and so are the moments of its optimiser, Adam.

    Args:
        setting: what all methods share.
        networks: 1.
        clean_batch_size: samples in a batch with true labels, at least 2; None: `data.batch_size`.
        hidden_units: H, of V, at least 1.
        weighing_rate: learning rate of V, at least 0.
        weighing_decay: its weight decay, at least 0.

    Attributes:
        weighing: V's parameters: weights and biases of the hidden units, weights and bias of what
            they give, float32 `[3 H + 1]`.
        moments: Adam's two means of their gradient, `[2, 3 H + 1]`.
        steps: that V has made, float64 `[]`.
        sample_weights: what V gave each sample when it was last seen, `[N]` in [0, 1]; at first 1.

    Raises:
        InputError: a value is out of its range.
    """

    weighing: Tensor
    moments: Tensor
    steps: Tensor
    sample_weights: Tensor

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
        first = initial_weighing(hidden_units, derive_seed(self.seed, "weighing"))
        self.register_buffer("weighing", first.to(self.labels.device))
        self.register_buffer("moments", torch.zeros_like(self.weighing).repeat(2, 1))
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))
        self.register_buffer("sample_weights", torch.ones(len(self.labels)))

    def configure_optimizers(self) -> Any:
        """As for all methods; the step ahead has the optimiser's rate."""
        found = super().configure_optimizers()
        self._optimizer = found["optimizer"]
        return found

    def losses(self, batch: Batch) -> Losses:
        """Weighted cross-entropy, `[B]`, after V has been taught."""
        self.teach(self.weighing_gradient(batch))
        [z] = self.networks.logits(batch.views)["first"]
        loss = cross_entropy(z, batch.labels)
        weights = weigh(self.weighing, loss.detach())
        self.write(self.sample_weights, batch, weights)
        return {"first": {"loss_first": weights.to(loss.dtype) * loss}}

    def weighing_gradient(self, batch: Batch) -> Tensor:
        """Of the clean batch's loss after a step, by V's parameters, `[3 H + 1]`, over all ranks.

        By a sample's weight it is −(rate / B) ⟨∇l_i, ∇clean loss after the step⟩.
        """
        share = batch.share
        assert share is not None
        now = self.parameters_now()
        loss = self.losses_with(now, batch)
        weighing = self.weighing.detach().requires_grad_()
        weights = weigh(weighing, loss.detach())
        step = global_gradient(share.mean(weights.detach() * loss), now, share)
        rate = float(self._optimizer.param_groups[0]["lr"])
        ahead = {n: (p.detach() - rate * step[n]).requires_grad_() for n, p in now.items()}
        along = self.clean_gradient(ahead, batch.parts[CLEAN])
        slopes = -rate * self.alignment(now, batch, along)
        return global_gradient(share.mean(slopes * weights), {"": weighing}, share)[""]

    @torch.no_grad()
    def teach(self, gradient: Tensor) -> None:
        """A step of Adam for V."""
        gradient = gradient.to(self.weighing.dtype) + self.weighing_decay * self.weighing
        self.steps += 1
        found = []
        of_both = zip(self.moments, DECAYS, (gradient, gradient.square()), strict=True)
        for moment, decay, now in of_both:
            moment.lerp_(now, 1 - decay)
            found.append(moment / (1 - decay**self.steps))
        mean, square = found
        self.weighing -= self.weighing_rate * mean / (square.sqrt() + LEAST)

    def prepare_epoch(self, epoch: int) -> None:
        """Record how much is learnt from."""
        self.record["weight"] = float(self.sample_weights.mean())

    @property
    def weights(self) -> Tensor:
        """What V gave each sample when it was last seen."""
        return self.sample_weights


def initial_weighing(hidden: int, seed: int) -> Tensor:
    """V's parameters at first, `[3 H + 1]`: uniform, as far as 1 over the root of a unit's inputs.

    Drawn on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = 2 * torch.rand(3 * hidden + 1, generator=generator) - 1
    drawn[2 * hidden :] /= hidden**0.5
    return drawn


def weigh(weighing: Tensor, losses: Tensor) -> Tensor:
    """V of losses `[B]`: weights in [0, 1], `[B]`, of the losses' type."""
    hidden = len(weighing) // 3
    weight, bias, out, [last] = weighing.to(losses.dtype).split([hidden, hidden, hidden, 1])
    return torch.sigmoid((losses[:, None] * weight + bias).relu() @ out + last)
