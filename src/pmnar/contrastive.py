"""Contrastive losses: features in, one loss a sample out."""

import torch
from torch import Tensor

from pmnar.precision import product


def interpolated_supervised(
    anchors: Tensor,
    others: Tensor,
    labels: tuple[Tensor, Tensor],
    labels_of_others: Tensor,
    itself: Tensor,
    weight: Tensor,
    temperature: float,
) -> Tensor:
    """`−Σ_t w_t / |P_t| · Σ_{j ∈ P_t} log(exp(s_j / τ) / Σ_k exp(s_k / τ))`, `[A]` (MOIT).

    The supervised contrastive loss of Khosla et al., 2020, of images that are mixed of two: P_1 are
    the others with the label of the first, which has the weight w, P_2 those with the second's,
    which has 1 − w. Half precision is raised to float32.

    Args:
        anchors: features of length 1, `[A, F]`.
        others: what they are compared with, the anchors too, `[C, F]`.
        labels: of each anchor's first and second image, int64 `[A]` each.
        labels_of_others: int64 `[C]`; -1 where there is nothing.
        itself: which of the others an anchor is, and not compared with, bool `[A, C]`. There must
            be something beside.
        weight: w in [0, 1], `[A]`.
        temperature: τ, over 0.
    """
    similar = similarities(anchors, others, temperature)
    compared = (labels_of_others >= 0) & ~itself
    log_share = similar.masked_fill(~compared, -torch.inf).log_softmax(-1)

    def mean_over(label: Tensor) -> Tensor:
        positive = compared & (labels_of_others == label[:, None])
        return log_share.masked_fill(~positive, 0).sum(-1) / positive.sum(-1).clamp_min(1)

    first, second = map(mean_over, labels)
    weight = weight.to(similar.dtype)
    return -(weight * first + (1 - weight) * second)


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
    similar = similarities(features, features, temperature)
    itself = torch.eye(2 * size, dtype=torch.bool, device=features.device)
    log_share = similar.masked_fill(itself, -torch.inf).log_softmax(-1)
    of_views = -torch.cat([log_share.diagonal(size), log_share.diagonal(-size)])
    return of_views.reshape(2, size).mean(0)


def similarities(left: Tensor, right: Tensor, temperature: float) -> Tensor:
    """`⟨left, right⟩ / τ`, `[A, C]`, at least float32, also where autocast would halve it."""
    return product(left, right.T) / temperature
