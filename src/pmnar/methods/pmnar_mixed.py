"""PMNAR trained on mixed strong views, towards labels refurbished by what the networks say.

DivideMix (Li et al., ICLR 2020) and its successors learn on such views; AugDesc (Nishi et al., CVPR
2021) found that weak views should say what a label is, and strong ones be learnt from. PMNAR's
weights, their exchange and its store keep their parts: a weight is how much of the given label
stays in the target, and what is neither of two mixed samples is learnt from negatively.
"""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from pmnar import losses
from pmnar.data.batches import Batch
from pmnar.methods.mixing import Mixing
from pmnar.methods.networks import Networks
from pmnar.methods.pmnar_beyond import Beyond
from pmnar.methods.terms import Losses
from pmnar.networks.statistics import untracked

ALPHA = 4.0
"""λ ~ Beta(α, α), the larger of λ and 1 − λ: mostly between a half and three quarters."""


def mixed_losses(
    networks: Networks, beyond: Beyond, batch: Batch, weights: Tensor, mask: Tensor | None
) -> tuple[Losses, list[Tensor]]:
    """`KL(mixed target ‖ p) − Σ_{S ∩ S'} log(1 − p_k)` of each network on mixed strong views.

    The target is `w · e_y + (1 − w) · q`, q being what the networks' mean says of the weak view,
    without gradient; so with w = 1 and no store, this is MixUp on the given labels.

    Args:
        networks: in training.
        beyond: gives q, sharpened or freed of a prior, and the networks' shifts.
        batch: of a weak and a strong view.
        weights: of the given labels, `[networks, B]`; at most 1 is used.
        mask: the stores of the batch's samples, bool `[B, K]`; None without a store.

    Returns:
        The losses; the networks' logits on the weak view, `[B, K]` each, without gradient.
    """
    assert batch.share is not None
    weak_view, strong_view = batch.views
    with torch.no_grad():
        weak = [z for (z,) in networks.logits((weak_view,)).values()]
        said = beyond.target(weak)
    mixing = Mixing([batch.share], ALPHA, larger=True)
    with untracked(networks) if beyond.statistics == "weak" else nullcontext():
        logits = networks.logits((mixing([strong_view]),))
    neither = None if mask is None else mask & mixing.partners([mask])
    found = {}
    for network, (name, (z,)) in enumerate(logits.items()):
        z = beyond.shifted(z, network)
        target = mixing([refurbished(batch.labels, weights[network].clamp_max(1), said)])
        loss = losses.consistency(z, target)
        if neither is not None:
            loss = loss + losses.multi_negative(z, neither)
        found[name] = {f"loss_{name}": loss}
    return found, weak


def refurbished(labels: Tensor, weights: Tensor, said: Tensor) -> Tensor:
    """`w · e_y + (1 − w) · q`, `[B, K]`, for q = `said` and weights `[B]` in [0, 1]."""
    given = F.one_hot(labels, said.shape[-1]).to(said.dtype)
    return torch.lerp(said, given, weights.to(said.dtype)[:, None])
