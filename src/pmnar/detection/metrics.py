"""Finding wrong labels by confidence; positive class = mislabelled.

A sample is called wrong by its confidence alone, whatever is suggested for it; see `suspects`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_f1_score,
    binary_precision,
    binary_recall,
)

from pmnar.errors import InputError

ROUNDING = 1e-3  # a softmax in low precision may leave [0, 1] by this much


@dataclass(frozen=True)
class ClassTable:
    """One row a given class.

    Attributes:
        count: samples given this class, int64 `[K]`.
        mean_weight: float64 `[K]`, NaN for a class without samples; None where no weights are.
        called_share: share called wrong, float64 `[K]` in [0, 1], NaN as above.
    """

    count: Tensor
    mean_weight: Tensor | None
    called_share: Tensor


def is_called(confidence: Tensor, threshold: float = 0.5) -> Tensor:
    """Which samples are called wrong: confidence below the threshold, bool `[N]`."""
    if not 0 <= threshold <= 1:
        raise InputError(f"detection.threshold must be in [0, 1], got {threshold}")
    return confidence < threshold


def detection_metrics(
    confidence: Tensor, given: Tensor, true: Tensor | None, threshold: float = 0.5
) -> dict[str, float]:
    """How well low confidence finds wrong labels; what cannot be known is absent.

    Args:
        confidence: probability of the given label, `[N]` in [0, 1].
        given: given labels, `[N]`.
        true: true labels `[N]`, or None where they are unknown.
        threshold: a confidence below it calls a sample wrong, in [0, 1].

    Returns:
        `threshold` and `estimated_noise_rate` (share called) always; `actual_noise_rate` where the
        true labels are known; `precision` where a sample was called; `recall` and `f1` where a
        sample is mislabelled; `auroc` where mislabelled and clean samples both exist. All lie in
        [0, 1].

    Raises:
        InputError: no samples, lengths that differ, or a confidence outside [0, 1] or NaN.
    """
    confidence = _checked(confidence, given, true)
    called = is_called(confidence, threshold)
    found = {"threshold": float(threshold), "estimated_noise_rate": called.double().mean().item()}
    if true is None:
        return found
    wrong, guess = (given != true).int(), called.int()
    rate = wrong.double().mean().item()
    found["actual_noise_rate"] = rate
    if found["estimated_noise_rate"] > 0:
        found["precision"] = binary_precision(guess, wrong, validate_args=False).item()
    if rate > 0:
        found["recall"] = binary_recall(guess, wrong, validate_args=False).item()
        found["f1"] = binary_f1_score(guess, wrong, validate_args=False).item()
    if 0 < rate < 1:
        # Equal to ranking the mislabelled by 1 - confidence, which would round small values away.
        found["auroc"] = binary_auroc(confidence, 1 - wrong, validate_args=False).item()
    return found


def f1_curve(
    confidence: Tensor, given: Tensor, true: Tensor, thresholds: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Precision, recall and F1 at every threshold, exactly, from one sort.

    Args:
        confidence: probability of the given label, `[N]` in [0, 1].
        given: given labels, `[N]`.
        true: true labels, `[N]`.
        thresholds: `[T]` in [0, 1]; by default 101 from 0 to 1.

    Returns:
        thresholds, precision, recall, F1, each float64 `[T]` in [0, 1]; NaN where undefined:
        precision where no sample is called, recall and F1 where none is mislabelled.

    Raises:
        InputError: as `detection_metrics`.
    """
    confidence = _checked(confidence, given, true)
    if thresholds is None:
        thresholds = torch.linspace(0, 1, 101, dtype=torch.float64)
    cuts = thresholds.to(confidence)
    wrong = given != true
    called = torch.searchsorted(confidence.sort().values, cuts).double()
    hits = torch.searchsorted(confidence[wrong].sort().values, cuts).double()
    actual = wrong.sum()
    f1 = torch.where(actual > 0, 2 * hits / (called + actual), torch.nan)
    return thresholds.double(), hits / called, hits / actual, f1


def per_class(
    confidence: Tensor,
    given: Tensor,
    weights: Tensor | None,
    num_classes: int,
    threshold: float = 0.5,
) -> ClassTable:
    """Count, mean weight and share called wrong of every given class.

    Args:
        confidence: probability of the given label, `[N]` in [0, 1].
        given: given labels in [0, K), `[N]`.
        weights: sample weights `[N]`, or None where the method has none.
        num_classes: K.
        threshold: a confidence below it calls a sample wrong, in [0, 1].

    Raises:
        InputError: as `detection_metrics`.
    """
    confidence = _checked(confidence, given, weights)
    count = torch.bincount(given, minlength=num_classes)

    def mean(values: Tensor) -> Tensor:
        return torch.bincount(given, values.double(), minlength=num_classes) / count

    mean_weight = None if weights is None else mean(weights)
    return ClassTable(count, mean_weight, mean(is_called(confidence, threshold)))


def _checked(confidence: Tensor, given: Tensor, other: Tensor | None) -> Tensor:
    """The confidence, at least float32, inside [0, 1]."""
    lengths = [len(each) for each in (confidence, given, other) if each is not None]
    if min(lengths) == 0 or len(set(lengths)) > 1:
        raise InputError(f"detection needs one value a sample of each kind, got lengths {lengths}")
    low, high = torch.stack(torch.aminmax(confidence)).tolist()
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # NaN fails both
        raise InputError(f"confidence must be in [0, 1], got values from {low} to {high}")
    if confidence.dtype != torch.float64:
        confidence = confidence.float()
    return confidence.clamp(0, 1)
