"""MixUp: every sample of the global batch mixed with another of it.

Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pmnar.data.batches import Share


class Mixing:
    """One draw of partners and of λ ~ Beta(α, α), for images, targets and whatever goes with them.

    It mixes over the whole global batch, or over several one after the other (labelled and
    unlabelled, two views each), so that any number of ranks mixes the same. `mixing(rows)` gives
    `λ · rows + (1 − λ) · partners`.

    Args:
        shares: for each part of what is mixed this rank's share of it; a part may repeat.
        alpha: α, over 0; the larger, the nearer to half and half.
        each: draw a λ for each sample, not one for all.
        larger: take λ or 1 − λ, whichever is larger, so that a sample stays mostly itself.
        purpose: of the draw; two mixings of one batch need two.
        among: whose partners are drawn among these alone, bool, of all parts of the global batch,
            `[their sizes' sum]`; the others stay as they are. None: all.

    Attributes:
        weight: λ of this rank's samples, float64 `[B]`, or `[]` where all have the same.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        alpha: float,
        *,
        each: bool = False,
        larger: bool = False,
        purpose: str = "mixing",
        among: Tensor | None = None,
    ) -> None:
        self.shares = tuple(shares)
        sizes = [share.size for share in shares]
        generator = shares[0].generator(purpose)
        partners = torch.randperm(sum(sizes), generator=generator)
        # Of PyTorch's draws from a Beta distribution none is public that takes a generator.
        draws = np.random.default_rng(generator.initial_seed())
        drawn = draws.beta(alpha, alpha, sum(sizes) if each else None)
        weight = torch.tensor(drawn, dtype=torch.float64)
        if larger:
            weight = torch.maximum(weight, 1 - weight)
        if among is not None:
            partners = _among(partners.to(among.device, non_blocking=True), among)
        self.weight = _mine(shares, weight) if each else weight
        self._partners = _mine(shares, partners)

    def __call__(self, rows: Sequence[Tensor]) -> Tensor:
        """Mix this rank's rows of each part, `[B, ...]`, floating; gives `[sum of the B, ...]`."""
        return self.mixed(rows, self.weight)

    def mixed(self, rows: Sequence[Tensor], weight: Tensor) -> Tensor:
        """The same with a weight of the caller's in the place of λ, `[]` or `[sum of the B]`."""
        mine, partners = torch.cat(list(rows)), self.partners(rows)
        weight = weight.to(mine.dtype).to(mine.device, non_blocking=True)
        weight = weight.reshape(-1, *[1] * (mine.ndim - 1))
        return weight * mine + (1 - weight) * partners

    def partners(self, rows: Sequence[Tensor]) -> Tensor:
        """The rows of each sample's partner, `[sum of the B, ...]`, of any type."""
        parts = [share.whole(each) for share, each in zip(self.shares, rows, strict=True)]
        whole = torch.cat(parts)
        return whole[self._partners.to(whole.device, non_blocking=True)]


def _mine(shares: Sequence[Share], values: Tensor) -> Tensor:
    """This rank's rows of each part of `values`, `[sum of the B, ...]`."""
    parts = torch.split(values, [share.size for share in shares])
    return torch.cat([share.take(part) for share, part in zip(shares, parts, strict=True)])


def _among(order: Tensor, among: Tensor) -> Tensor:
    """Partners of those chosen, in a random order of all; the others are their own."""
    first = order[(~among[order]).argsort(stable=True)]  # those chosen, in their random order
    place = (among.cumsum(0) - 1).clamp_min(0)
    return torch.where(among, first[place], torch.arange(len(order), device=order.device))
