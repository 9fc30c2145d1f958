"""The share of wrong labels, for methods that go by it: told, or estimated from losses."""

from torch import Tensor

from pmnar.errors import InputError
from pmnar.samples.mixtures import clean_probability, rescaled

ESTIMATE = "estimate"


def told_rate(forget_rate: float | str) -> float | None:
    """The rate that `method.forget_rate` tells, in [0, 1); None where it is to be estimated.

    Raises:
        InputError: it is neither.
    """
    if forget_rate == ESTIMATE:
        return None
    if not isinstance(forget_rate, int | float) or not 0 <= forget_rate < 1:
        raise InputError(f"method.forget_rate must be in [0, 1) or {ESTIMATE}, got {forget_rate}")
    return forget_rate


def estimated_rate(losses: Tensor, seed: int) -> Tensor:
    """The expected share of the larger losses' component (see `clean_probability`), float64 `[]`.

    Args:
        losses: of all samples, `[N]`.
        seed: of the fit's beginning.
    """
    return 1 - clean_probability(rescaled(losses), seed).double().mean()
