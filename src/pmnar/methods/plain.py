"""Methods that are a loss of logits and the given labels, and nothing else."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pmnar import losses
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses

LOSSES: dict[str, Callable[..., Tensor]] = {
    "label_smoothing": losses.label_smoothing,
    "mae": losses.mean_absolute_error,
    "gce": losses.generalised_cross_entropy,
    "sce": losses.symmetric_cross_entropy,
    "apl": losses.active_passive,
    "phuber": losses.partially_huberised,
    "soft_bootstrap": losses.soft_bootstrap,
    "hard_bootstrap": losses.hard_bootstrap,
}


class Plain(NoisyLabelMethod):
    """A loss of each sample's logits and given label. It needs to know nothing of the noise.

    Args:
        setting: what all methods share.
        networks: 1, or 2, which do not know of each other and whose mean is reported too.
        loss: one of `LOSSES`.
        **options: that loss's own settings.

    Raises:
        InputError: there is no such loss, or a setting is out of its range.
    """

    losses_are_apart = True

    def __init__(
        self, setting: Setting, *, networks: int = 1, loss: str = "gce", **options: Any
    ) -> None:
        if loss not in LOSSES:
            raise InputError(f"method.loss must be one of {', '.join(LOSSES)}, got {loss}")
        super().__init__(setting, networks=networks)
        self._loss = partial(LOSSES[loss], **options)
        # It checks its settings itself.
        self._loss(torch.zeros(1, self.num_classes), torch.zeros(1, dtype=torch.int64))

    def losses(self, batch: Batch) -> Losses:
        """The loss of each network, `[B]`."""
        logits = self.networks.logits(batch.views)
        return {
            name: {f"loss_{name}": self._loss(z, batch.labels)} for name, (z,) in logits.items()
        }
