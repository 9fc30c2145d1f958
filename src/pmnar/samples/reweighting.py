"""Adaptive reweighting: how much each training sample counts (PMNAR, Section 3.2)."""

import torch
from torch import Tensor

from pmnar.errors import InputError

STARVED = 0.1
"""A class whose mean weight is below this share of the overall mean is called starved."""


def check_minimum(minimum: str | float) -> None:
    """Raise `InputError` unless `minimum` is `global` or a quantile in [0, 1)."""
    is_quantile = isinstance(minimum, int | float) and 0 <= minimum < 1
    if not (minimum == "global" or is_quantile):
        raise InputError(f"method.minimum must be global or a quantile in [0, 1), got {minimum}")


def lowest_confidence(confidence: Tensor, minimum: str | float = "global") -> Tensor:
    """The factor `f_min`: the smallest of the confidences `[N]`, or a low quantile of them.

    One outlier rules a minimum; `minimum=0.01` takes the value below which 1 % of them lie
    (an order statistic, never interpolated).
    """
    if minimum == "global":
        return confidence.min()
    rank = int(float(minimum) * (len(confidence) - 1)) + 1
    return confidence.sort().values[rank - 1]  # kthvalue has no deterministic CUDA kernel


def adaptive_weights(confidence: Tensor, minimum: str | float = "global") -> Tensor:
    """Weights `w_i = p_y(x_i) − min_j p_y(x_j)` (PMNAR, Eq. 4), `[N]`, in [0, 1], the least 0.

    `confidence`: the probability of the given label, `[N]`, of all samples on all ranks. Below a
    quantile the weight is 0. Detached; not normalised.
    """
    confidence = confidence.detach()
    return (confidence - lowest_confidence(confidence, minimum)).clamp_min(0)


def relative_weights(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Weights `w_i = p_y(x_i) / max_k p_k(x_i)`, `[N]`, in [0, 1].

    Beyond the paper: it measures a label against its rivals, not against 1. Where a share r of
    labels is wrong, even the best of networks is but 1 − r sure of a right one. A uniform p gives
    1, so a network that knows nothing yet weighs nothing down; one that is sure gives the paper's
    1 and 0.

    Args:
        probabilities: `[N, K]`.
        labels: the given labels, int64 `[N]`.
    """
    probabilities = probabilities.detach()
    given = probabilities.gather(-1, labels[:, None]).squeeze(-1)
    return given / probabilities.amax(-1).clamp_min(torch.finfo(given.dtype).tiny)


def normalised(weights: Tensor, mean: Tensor) -> Tensor:
    """Weights `[..., B]` over the mean weight `[...]` of the whole batch: `Σ w` in place of B.

    Where all weights are 0 they stay 0.
    """
    return weights / mean.clamp_min(torch.finfo(weights.dtype).tiny)[..., None]


def class_mean(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Mean of `values` `[N]` over the samples of each label, `[K]`; NaN for a label without any."""
    # float64, so that the order of summation does not show in the result.
    total = torch.zeros(num_classes, dtype=torch.float64, device=values.device)
    total = total.index_add(0, labels, values.double())
    return (total / torch.bincount(labels, minlength=num_classes)).to(values.dtype)


def balance_classes(weights: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Weights `[N]` rescaled so that every given class has the overall mean weight.

    Beyond the paper: literal reweighting can starve a class (low confidence, low weight, lower
    confidence). Rescaled weights may exceed 1. A class whose weights are all 0 has nothing to
    rescale, and each of its samples gets the overall mean.
    """
    means = class_mean(weights, labels, num_classes)[labels]
    overall = weights.mean()
    return torch.where(means > 0, weights * (overall / means.clamp_min(1e-30)), overall)


def starved_classes(class_means: Tensor, overall: float) -> list[int]:
    """Ids of the classes whose mean weight `[K]` is under a tenth of the overall mean weight."""
    return [k for k, mean in enumerate(class_means.tolist()) if mean < STARVED * overall]
