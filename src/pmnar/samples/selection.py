"""Which samples of a batch are trained on."""

import torch
from torch import Tensor


@torch.no_grad()
def small_loss(losses: Tensor, keep: float, among: Tensor | None = None) -> Tensor:
    """Factors that leave the share `keep` of smallest losses (Co-teaching, Algorithm 1).

    Of M candidates `int(keep · M)`, at least one, stay. Their factor is `B / kept`, that of the
    others 0, so that the mean over the batch of `factor · loss` is the mean over those kept. With
    no candidate all factors are 0. Equal losses stay in the batch's order. Reads nothing from the
    device.

    Args:
        losses: one a sample of the whole batch, over all ranks, `[B]`.
        keep: in [0, 1].
        among: the candidates, bool `[B]`; None: all.

    Returns:
        `[B]`, of the losses' type.
    """
    candidates = torch.ones_like(losses, dtype=torch.bool) if among is None else among
    count = candidates.sum()
    # In float64 as `int(keep · M)` is.
    kept = torch.minimum((count.double() * keep).floor().clamp_min(1), count)
    ranks = losses.masked_fill(~candidates, torch.inf).argsort(stable=True).argsort()
    chosen = candidates & (ranks < kept)
    return chosen * (len(losses) / kept.clamp_min(1)).to(losses.dtype)
