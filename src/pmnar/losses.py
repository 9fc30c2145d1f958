"""Losses for classification from wrong labels.

Every loss takes logits `[B, K]` (K >= 2) and returns one value per sample, `[B]`; the reduction is
the caller's. Half precision is raised to float32 first; float64 stays. All are finite, and so are
their gradients, for logits up to 1e37 in size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def log_one_minus_softmax(logits: Tensor) -> Tensor:
    """`log(1 − p)` of every class, `[B, K]`, exact where p rounds to 1.

    `log1p(−p)` is accurate while p is below one half, which leaves at most the largest class. For
    it, 1 − p is the mass of the others, summed from their log-probabilities. No floor is needed,
    and the gradient keeps pushing where a floored logarithm would have gone flat.
    """
    log_p = _at_least_float32(logits).log_softmax(-1)
    is_top = torch.zeros_like(log_p, dtype=torch.bool)
    is_top.scatter_(-1, log_p.argmax(-1, keepdim=True), True)
    mass_of_others = log_p.masked_fill(is_top, -torch.inf).logsumexp(-1, keepdim=True)
    below_half = log_p.masked_fill(is_top, -torch.inf).exp()
    return torch.where(is_top, mass_of_others, torch.log1p(-below_half))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`−log p_y` (PMNAR, Eq. 1). Labels: int64 `[B]`. Returns `[B]`, at least 0."""
    return F.cross_entropy(_at_least_float32(logits), labels, reduction="none")


def mean_absolute_error(logits: Tensor, labels: Tensor) -> Tensor:
    """`|e_y − p|₁ = 2 (1 − p_y)` (Ghosh et al., 2017). Returns `[B]`, in [0, 2]."""
    probabilities = _at_least_float32(logits).softmax(-1)
    return 2 * (1 - probabilities.gather(-1, labels[:, None]).squeeze(-1))


def negative(logits: Tensor, complementary_label: Tensor) -> Tensor:
    """`−log(1 − p_ȳ)` for one complementary label, int64 `[B]` (PMNAR, Eq. 5). Returns `[B]`."""
    return -log_one_minus_softmax(logits).gather(-1, complementary_label[:, None]).squeeze(-1)


def multi_negative(logits: Tensor, complementary: Tensor) -> Tensor:
    """`−Σ_S log(1 − p_k)` (PMNAR, Eq. 6); `complementary` is the set S, bool `[B, K]`."""
    return -log_one_minus_softmax(logits).masked_fill(~complementary, 0.0).sum(-1)


def positive_and_multi_negative(logits: Tensor, labels: Tensor, complementary: Tensor) -> Tensor:
    """`−log p_y − Σ_S log(1 − p_k)` (PMNAR, Eq. 7). Returns `[B]`, at least 0.

    `labels`: int64 `[B]`; `complementary`: the set S of each sample, bool `[B, K]`.
    """
    return cross_entropy(logits, labels) + multi_negative(logits, complementary)


def consistency(logits: Tensor, target: Tensor) -> Tensor:
    """`KL(target ‖ softmax(logits))` (PMNAR, Eq. 9). Returns `[B]`, at least 0.

    `target`: probabilities `[B, K]`; the caller detaches them. `0 log 0` is 0.
    """
    log_probabilities = _at_least_float32(logits).log_softmax(-1)
    target = target.to(log_probabilities.dtype)
    # A floored logarithm: xlogy's gradient at 0, for a target that is not detached, is not finite.
    log_target = target.clamp_min(torch.finfo(target.dtype).tiny).log()
    return (target * (log_target - log_probabilities)).sum(-1)
