"""How likely each label is right, from a mixture of two Gaussians over the samples' losses.

scikit-learn is imported where a mixture is fitted: no other method waits for it.
"""

import warnings
from math import e, log

import torch
from torch import Tensor

ITERATIONS, TOLERANCE, LEAST_VARIANCE = 10, 1e-2, 5e-4
"""As DivideMix has them."""


def rescaled(losses: Tensor) -> Tensor:
    """Losses `[N]` brought to [0, 1] by the least and the largest; all 0 where they are equal."""
    low, high = losses.aminmax()
    return (losses - low) / torch.where(high > low, high - low, 1)


def clean_probability(losses: Tensor, seed: int) -> Tensor:
    """The probability of the component of smaller mean (DivideMix, Section 3.1).

    Deterministic: the same on any number of threads, and so on every rank. Where all losses are
    equal nothing tells any label from another, and all are taken for right.

    Args:
        losses: in [0, 1], `[N]`, N at least 2.
        seed: of k-means, which the fit begins with.

    Returns:
        float32 `[N]`, in [0, 1].
    """
    if not losses.max() > losses.min():
        return torch.ones_like(losses, dtype=torch.float32)
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    values = losses.double().cpu().numpy().reshape(-1, 1)
    mixture = GaussianMixture(
        2,
        max_iter=ITERATIONS,
        tol=TOLERANCE,
        reg_covar=LEAST_VARIANCE,
        random_state=seed % 2**32,
    )
    # Threads would add in the order in which they end. So few iterations are meant not to suffice.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_each = mixture.fit(values).predict_proba(values)
    found = of_each[:, mixture.means_.argmin()]
    return torch.from_numpy(found).to(losses.device, torch.float32)


def jensen_shannon(confidence: Tensor, base: float = e) -> Tensor:
    """The Jensen-Shannon divergence of each given label from the prediction (UNICON, Eq. 2).

    Of a one-hot label it depends on the label's probability c alone:
    `½ [(1 − c) log 2 + c log(2c / (1 + c)) + log(2 / (1 + c))]`.

    Args:
        confidence: c, `[N]`, in [0, 1].
        base: of the logarithm.

    Returns:
        float64 `[N]`, from 0 where c = 1 to log 2 where c = 0.
    """
    c = confidence.double()
    twice = (2 - c) * log(2) + torch.xlogy(c, 2 * c) - (1 + c) * torch.log(1 + c)
    return twice.clamp_min(0) / (2 * log(base))


def selected_share(divergence: Tensor, most: float, divisor: float) -> float:
    """The share of samples that diverge less than their mean does (UNICON, Eqs. 3, 4).

    Args:
        divergence: float64 `[N]`.
        most: a mean over it is lowered,
        divisor: by this part of its distance from the least.

    Returns:
        In (0, 1]; 1 where all are equal.
    """
    mean, low = divergence.mean(), divergence.min()
    threshold = torch.where(mean > most, mean - (mean - low) / divisor, mean)
    return float((divergence < threshold).double().mean()) or 1.0
