"""What methods that weigh samples by others with true labels share."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from pmnar.checks import check_counts
from pmnar.data.batches import Batch, Share, Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.names import CLEAN, TRAIN
from pmnar.runtime.gather import sum_over_ranks

Parameters = Mapping[str, Tensor]
"""A network's trained parameters, or as many numbers of another kind, by name."""


class LooksAhead(NoisyLabelMethod):
    """It asks how a step on each sample would change the loss of others with true labels.

    The derivative of that loss by a sample's weight is a product of two gradients, which one
    derivative along a direction gives for all samples at once: no graph of a graph is kept.

    Args:
        setting: what all methods share.
        networks: 1.
        clean_batch_size: samples with true labels beside each batch; None: as many as in it.

    Attributes:
        sample_weights: of each sample when it was last seen, `[N]`, at least 0; at first 1.

    Raises:
        InputError: a value is out of its range.
    """

    uses_truth = True
    sample_weights: Tensor

    def __init__(
        self, setting: Setting, *, networks: int = 1, clean_batch_size: int | None = None
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for this method, got {networks}")
        check_counts(2, True, clean_batch_size=clean_batch_size)
        super().__init__(setting, networks=1)
        self.clean_batch_size = clean_batch_size
        self.register_buffer("sample_weights", torch.ones(len(self.labels)))

    def streams(self, epoch: int) -> dict[str, Stream]:
        """All samples, and beside them the clean ones, as often as it takes."""
        return with_clean(self, self.clean_batch_size)

    @property
    def weights(self) -> Tensor:
        """Of each sample when it was last seen."""
        return self.sample_weights

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
        found = global_gradient(loss, list(parameters.values()), clean.share)
        return dict(zip(parameters, found, strict=True))

    def alignment(self, parameters: Parameters, batch: Batch, along: Parameters) -> Tensor:
        """⟨∇l_i, `along`⟩ of each sample's loss at these parameters, `[B]`, detached."""
        at = {name: value.detach() for name, value in parameters.items()}
        with sdpa_kernel(SDPBackend.MATH):  # the others know no such derivative
            found: Tensor = jvp(lambda of: self.losses_with(of, batch), (at,), (dict(along),))[1]
        return found.detach()


def with_clean(method: NoisyLabelMethod, batch_size: int | None) -> dict[str, Stream]:
    """The streams of a method that draws from all samples, and beside them from the clean ones."""
    clean = Stream(torch.arange(method.clean_samples), batch_size, CLEAN)
    return {TRAIN: Stream(torch.arange(len(method.labels))), CLEAN: clean}


def global_gradient(loss: Tensor, leaves: Sequence[Tensor], share: Share) -> list[Tensor]:
    """The gradient of `loss`, which is what `share.mean` gave, by each leaf: the ranks' mean."""
    found = torch.autograd.grad(loss, leaves, materialize_grads=True, allow_unused=True)
    if share.world == 1:
        return list(found)
    together = sum_over_ranks(torch.cat([each.flatten() for each in found])) / share.world
    parts = torch.split(together, [each.numel() for each in found])
    return [part.view_as(each) for part, each in zip(parts, found, strict=True)]
