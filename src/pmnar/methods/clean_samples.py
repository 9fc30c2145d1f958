"""Methods that learn from a few samples with true labels beside the others."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp

from pmnar.checks import check_counts
from pmnar.data import NoisyDataModule
from pmnar.data.batches import Batch, Share, Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.names import CLEAN, TRAIN
from pmnar.runtime.gather import sum_over_ranks

Parameters = Mapping[str, Tensor]
"""A network's trained parameters, or as many numbers of another kind, by name."""


class WithCleanSamples(NoisyLabelMethod):
    """One network; a batch of samples with true labels comes beside each other one.

    Args:
        setting: what all methods share.
        networks: 1.
        clean_batch_size: samples in such a batch; None: as many as in the others.

    Attributes:
        clean_samples: how many there are.

    Raises:
        InputError: a value is out of its range.
    """

    uses_truth = True

    def __init__(
        self, setting: Setting, *, networks: int = 1, clean_batch_size: int | None = None
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for this method, got {networks}")
        check_counts(2, True, clean_batch_size=clean_batch_size)
        super().__init__(setting, networks=1)
        self.clean_batch_size, self.clean_samples = clean_batch_size, 0

    def attach(self, data: NoisyDataModule) -> None:
        """Find how many clean samples there are.

        Raises:
            InputError: there are none, or but one.
        """
        super().attach(data)
        self.clean_samples = len(data.splits[CLEAN])
        self._check_enough(1)

    def setup(self, stage: str) -> None:
        """See that every rank has its clean samples.

        Raises:
            InputError: there are too few.
        """
        super().setup(stage)
        self._check_enough(self.trainer.world_size)

    def _check_enough(self, world: int) -> None:
        if self.clean_samples < 2 * world:
            raise InputError(
                f"data.clean must be at least {2 * world} ({world} devices, of which each needs "
                f"two), got {self.clean_samples}"
            )

    def streams(self, epoch: int) -> dict[str, Stream]:
        """All samples, and beside them the clean ones, as often as it takes."""
        clean = Stream(torch.arange(self.clean_samples), self.clean_batch_size, CLEAN)
        return {TRAIN: Stream(torch.arange(len(self.labels))), CLEAN: clean}


class LooksAhead(WithCleanSamples):
    """It asks how a step on each sample would change the loss of the clean ones.

    The derivative of that loss by a sample's weight is a product of two gradients, which one
    derivative along a direction gives for all samples at once: no graph of a graph is kept.
    """

    def on_fit_start(self) -> None:
        """Refuse layers that know no derivative along a direction.

        Raises:
            InputError: there is SyncBatchNorm.
        """
        super().on_fit_start()
        if any(isinstance(layer, nn.SyncBatchNorm) for layer in self.networks.modules()):
            raise InputError(
                "trainer.sync_batchnorm must be false for this method: its weights are "
                "derivatives that SyncBatchNorm does not know, got true"
            )

    def parameters_now(self) -> dict[str, Tensor]:
        """The first network's trained parameters, as leaves of a graph of their own."""
        named = self.networks["first"].named_parameters()
        return {name: p.detach().requires_grad_() for name, p in named if p.requires_grad}

    def losses_with(self, parameters: Parameters, batch: Batch) -> Tensor:
        """The cross-entropy `[B]` of a batch's first view, with these parameters."""
        z = self.networks.logits_with("first", parameters, batch.views[0])
        return cross_entropy(z, batch.labels)

    def clean_gradient(self, parameters: Parameters, clean: Batch) -> dict[str, Tensor]:
        """The gradient of the clean batch's mean loss at these parameters, over all ranks."""
        assert clean.share is not None
        loss = clean.share.mean(self.losses_with(parameters, clean))
        return global_gradient(loss, parameters, clean.share)

    def alignment(self, parameters: Parameters, batch: Batch, along: Parameters) -> Tensor:
        """⟨∇l_i, `along`⟩ of each sample's loss at these parameters, `[B]`, detached."""
        at = {name: value.detach() for name, value in parameters.items()}
        _, found = jvp(lambda here: self.losses_with(here, batch), (at,), (dict(along),))
        return found.detach()  # type: ignore[no-any-return]


def global_gradient(loss: Tensor, parameters: Parameters, share: Share) -> dict[str, Tensor]:
    """The gradient of `loss`, which is what `share.mean` gave: its mean over the ranks."""
    leaves = list(parameters.values())
    found: Any = torch.autograd.grad(loss, leaves, materialize_grads=True, allow_unused=True)
    if share.world > 1:
        together = sum_over_ranks(torch.cat([each.flatten() for each in found])) / share.world
        sizes = [each.numel() for each in found]
        parts = together.split(sizes)
        found = [part.view_as(each) for part, each in zip(parts, found, strict=True)]
    return dict(zip(parameters, found, strict=True))
