"""Contrastive losses: features in, one loss a sample out."""

import torch
from torch import Tensor


def nt_xent(left: Tensor, right: Tensor, temperature: float) -> Tensor:
    """`−log(exp(s_pos / τ) / Σ_{j ≠ i} exp(s_ij / τ))`, mean of a sample's two views: `[B]`.

    The normalised temperature-scaled cross-entropy of SimCLR (Chen et al., ICML 2020, Eq. 1). Each
    of the 2B views is to be told from all others as the other view of its sample; half precision
    is raised to float32.

    Args:
        left, right: both views' features, of length 1, `[B, F]`, B at least 2.
        temperature: τ, over 0.
    """
    size = len(left)
    features = torch.cat([left, right])
    features = features if features.dtype == torch.float64 else features.float()
    similar = features @ features.T / temperature
    itself = torch.eye(2 * size, dtype=torch.bool, device=features.device)
    log_share = similar.masked_fill(itself, -torch.inf).log_softmax(-1)
    of_views = -torch.cat([log_share.diagonal(size), log_share.diagonal(-size)])
    return of_views.reshape(2, size).mean(0)
