"""Losses for classification from wrong labels.

Every loss takes logits `[B, K]` (K >= 2) and returns one value per sample, `[B]`; the reduction is
the caller's. Half precision is raised to float32 first; float64 stays. All are finite, and so are
their gradients, for logits up to 1e37 in size. A setting out of its range is an `InputError` that
names `method.<setting>`.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pmnar.checks import check_reals
from pmnar.errors import InputError


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


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """`−Σ_k t_k log p_k` for a target `[B, K]`, which need not be of sum 1. Returns `[B]`."""
    log_p = _at_least_float32(logits).log_softmax(-1)
    return -(target.to(log_p.dtype) * log_p).sum(-1)


def negative_entropy(logits: Tensor) -> Tensor:
    """`Σ_k p_k log p_k` (Pereyra et al., 2017). Returns `[B]`, in [−log K, 0]."""
    log_p = _at_least_float32(logits).log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1)


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


# -- of noise that is known or guessed -------------------------------------------------------------


def explained(logits: Tensor, likelihood: Tensor) -> Tensor:
    """`−log Σ_i p_i c_i`, forward correction (Patrini et al., 2017). Returns `[B]`.

    `likelihood`: c, how likely a sample of each class is given the label that this one has,
    constant, at least 0, `[B, K]`. A label that no class is given says nothing: its loss is 0.
    """
    log_p = _at_least_float32(logits).log_softmax(-1)
    c = likelihood.to(log_p.dtype)
    c = torch.where((c > 0).any(-1, keepdim=True), c, 1)
    return -(log_p + c.log()).logsumexp(-1)


# -- of complementary labels that are drawn, and of samples that are selected ---------------------


def drawn_negative(logits: Tensor, counts: Tensor) -> Tensor:
    """`−Σ_k n_k log max(1 − p_k, 1e-5)` (NLNL; Kim et al., 2019). Returns `[B]`, at least 0.

    `counts`: n, how often each class was drawn as complementary label, `[B, K]`.
    """
    found = log_one_minus_softmax(logits).clamp_min(math.log(1e-5))
    return -(counts.to(found.dtype) * found).sum(-1)


def drawn_negative_plus(logits: Tensor, counts: Tensor) -> Tensor:
    """`−Σ_k n_k (1 − p_k) log(1 − p_k)`, 1 − p_k constant (NL+; Kim et al., 2021). Returns `[B]`.

    So a label's gradient is `n_k p_k (1 − p_k)` on its own logit: none where it seems to be right.
    """
    found = log_one_minus_softmax(logits)
    return -(counts.to(found.dtype) * found.detach().exp() * found).sum(-1)


def positive_plus(logits: Tensor, labels: Tensor, order: int = 3) -> Tensor:
    """`−Π_{n = 0..M} (1 + p_y^(2^n)) log p_y`, the product constant (PL+; Kim et al., 2021). `[B]`.

    So the gradient on the label's logit is `−(1 − p_y^(2^(M + 1)))`: that of cross-entropy with
    `order` M = −1, and the longer near 1 the larger it is.
    """
    loss = cross_entropy(logits, labels)
    powers = [torch.exp(-(2.0**n) * loss.detach()) for n in range(order + 1)]
    product = torch.ones_like(loss)
    for power in powers:
        product = product * (1 + power)
    return product * loss


# -- robust losses of the given label alone -------------------------------------------------------


def label_smoothing(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """`−Σ_k t_k log p_k`, t = (1 − ε) e_y + ε / K (Szegedy et al., 2016). Returns `[B]`.

    `smoothing`: ε in [0, 1]; 0 is cross-entropy.
    """
    check_reals("in [0, 1]", smoothing=smoothing)
    target = torch.full_like(_at_least_float32(logits), smoothing / logits.shape[-1])
    return soft_cross_entropy(logits, target) + (1 - smoothing) * cross_entropy(logits, labels)


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """`(1 − p_y^q) / q` (Zhang and Sabuncu, 2018). Returns `[B]`, in [0, 1 / q].

    `q` in (0, 1]: towards 0 it is cross-entropy, at 1 it is 1 − p_y, half the absolute error.
    """
    check_reals("in (0, 1]", q=q)
    return -torch.expm1(-q * cross_entropy(logits, labels)) / q


def reverse_cross_entropy(logits: Tensor, labels: Tensor, floor: float = 1e-4) -> Tensor:
    """`−Σ_k p_k log max(e_y, floor)_k = −log(floor) (1 − p_y)` (Wang et al., 2019). `[B]`.

    `floor` in (0, 1) stands for the zeros of the label.
    """
    check_reals("in (0, 1)", floor=floor)
    return -0.5 * math.log(floor) * mean_absolute_error(logits, labels)


def symmetric_cross_entropy(
    logits: Tensor, labels: Tensor, alpha: float, beta: float, floor: float = 1e-4
) -> Tensor:
    """`α · cross-entropy + β · reverse cross-entropy` (Wang et al., 2019). Returns `[B]`.

    `alpha`, `beta`: at least 0, not both 0.
    """
    _check_strengths(alpha, beta)
    reverse = reverse_cross_entropy(logits, labels, floor)
    return alpha * cross_entropy(logits, labels) + beta * reverse


def normalised_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`log p_y / Σ_k log p_k` (Ma et al., 2020). Returns `[B]`, in [0, 1]."""
    log_p = _at_least_float32(logits).log_softmax(-1)
    share = log_p.gather(-1, labels[:, None]).squeeze(-1) / logits.shape[-1]
    return share / log_p.div(logits.shape[-1]).sum(-1)  # their mean overflows less easily


def active_passive(
    logits: Tensor, labels: Tensor, alpha: float, beta: float, passive: str = "rce"
) -> Tensor:
    """`α · normalised cross-entropy + β · a passive loss` (Ma et al., 2020). Returns `[B]`.

    `alpha`, `beta`: at least 0, not both 0. `passive`: `rce`, reverse cross-entropy, or `mae`,
    which is 1 − p_y there.
    """
    _check_strengths(alpha, beta)
    if passive not in ("rce", "mae"):
        raise InputError(f"method.passive must be one of rce, mae, got {passive}")
    if passive == "rce":
        second = reverse_cross_entropy(logits, labels)
    else:
        second = mean_absolute_error(logits, labels) / 2
    return alpha * normalised_cross_entropy(logits, labels) + beta * second


def partially_huberised(logits: Tensor, labels: Tensor, tau: float) -> Tensor:
    """`−log p_y` where p_y > 1 / τ, its tangent `1 + log τ − τ p_y` below. Returns `[B]`.

    Menon et al., 2020. `tau` over 1: the largest slope in p_y; towards infinity cross-entropy.
    """
    check_reals("over 1", tau=tau)
    loss = cross_entropy(logits, labels)
    return torch.where(loss < math.log(tau), loss, 1 + math.log(tau) - tau * torch.exp(-loss))


def soft_bootstrap(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """`−Σ_k (β e_y + (1 − β) p)_k log p_k` (Reed et al., 2015). Returns `[B]`, at least 0.

    The gradient is also that of p as a target: the second part is p's entropy. `beta` in [0, 1].
    """
    check_reals("in [0, 1]", beta=beta)
    return beta * cross_entropy(logits, labels) - (1 - beta) * negative_entropy(logits)


def hard_bootstrap(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """`−β log p_y − (1 − β) log max_k p_k` (Reed et al., 2015). Returns `[B]`. `beta` in [0, 1]."""
    check_reals("in [0, 1]", beta=beta)
    own = cross_entropy(logits, logits.argmax(-1))
    return beta * cross_entropy(logits, labels) + (1 - beta) * own


def _check_strengths(alpha: float, beta: float) -> None:
    check_reals("at least 0", alpha=alpha, beta=beta)
    if not alpha + beta > 0:
        raise InputError(f"method.alpha must be over 0 where method.beta is 0, got {alpha}")
