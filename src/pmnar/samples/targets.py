"""Distributions over classes, as targets of a loss."""

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST = 1e-4
"""Probabilities are kept this far from 0 and 1 where their logarithm is taken, or of 1 − p."""


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Labels `[B]` as distributions, float32 `[B, K]`."""
    return F.one_hot(labels, num_classes).to(torch.float32)


def probabilities(logits: Tensor) -> Tensor:
    """Probabilities of logits `[B, K]`, at least float32."""
    raised = logits if logits.dtype == torch.float64 else logits.float()
    return raised.softmax(-1)


def clipped(logits: Tensor) -> Tensor:
    """Probabilities of logits `[B, K]` in [1e-4, 1 − 1e-4], at least float32; not normalised."""
    return probabilities(logits).clamp(LEAST, 1 - LEAST)


def sharpened(distribution: Tensor, temperature: float) -> Tensor:
    """`p^(1/T)`, normalised (MixMatch, Eq. 7), of p `[B, K]`; T over 0, 1 leaves it as it is."""
    # From the largest on, so that no power of a small number is all there is.
    powers = (distribution / distribution.amax(-1, keepdim=True)) ** (1 / temperature)
    return powers / powers.sum(-1, keepdim=True)


def balanced(labels: Tensor, num_classes: int, among: Tensor | None = None) -> Tensor:
    """The most frequent class's number of samples over each one's, `[K]`; 0 for one of none.

    Of the samples `among`, bool `[N]`, where they are told.
    """
    found = one_hot(labels, num_classes)
    counts = (found if among is None else found * among[:, None]).sum(0)
    return torch.where(counts > 0, counts.max() / counts.clamp_min(1), 0)
