"""Whether networks know enough for samples to be weighed by what they say."""

import torch
from torch import Tensor

KNOWN = 0.5
"""Networks that agree by so much beyond chance know something."""


def agreement(left: Tensor, right: Tensor, num_classes: int) -> Tensor:
    """Cohen's κ of two predictions int64 `[N]`: how often they agree beyond chance, float64 scalar.

    1 where they always agree; 0 where no more often than their shares of classes alone would have
    it, as of networks that know nothing, or that predict one class for everything.
    """
    size = len(left)
    same = (left == right).double().mean()
    shares = [torch.bincount(each, minlength=num_classes).double() / size for each in (left, right)]
    chance = (shares[0] * shares[1]).sum()
    return torch.where(chance < 1, (same - chance) / (1 - chance).clamp_min(1e-12), 0.0)


def trust(agreed: float) -> float:
    """How far weights are to be trusted, in [0, 1], by an agreement beyond chance.

    0 up to `KNOWN`, then in proportion to what goes beyond it, 1 where the networks always agree.
    """
    return max(0.0, (agreed - KNOWN) / (1 - KNOWN))
