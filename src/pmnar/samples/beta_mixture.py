"""How likely each label is wrong, from a mixture of two Betas over the samples' losses.

Arazo et al., "Unsupervised label noise modeling and loss correction", ICML 2019.

Departures from its public code: the component of larger mean is that of wrong labels, wherever the
fit has moved the two; and a loss under the other one's mean is no likelier wrong than one at it,
where the code lets the table rise again towards 0.
"""

from math import lgamma

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pmnar.samples.targets import LEAST

ITERATIONS, POINTS = 10, 100
PERCENTILES = (5, 95)
INSIDE, LEAST_VARIANCE, LEAST_SHARE = 1e-3, 1e-6, 1e-12
Values = NDArray[np.float64]


class BetaMixture(nn.Module):
    """The mixture that was fitted last, as a table; before, no label is likely wrong.

    Attributes:
        bounds: the 5th and the 95th percentile of the losses, float64 `[2]`.
        table: how likely a label is wrong, by its loss between these, float64 `[100]`.
    """

    bounds: Tensor
    table: Tensor

    def __init__(self, device: torch.device | None = None) -> None:
        super().__init__()
        for name, size in (("bounds", 2), ("table", POINTS)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64, device=device))

    @torch.no_grad()
    def fit(self, losses: Tensor) -> None:
        """Fit to losses `[N]`, at least 0; in one thread, so the same on every rank.

        Where nine in ten are equal nothing tells any label from another: none is likely wrong.
        """
        values = losses.double().cpu().numpy()
        low, high = bounds = np.percentile(values, PERCENTILES)
        self.bounds.copy_(torch.from_numpy(bounds))
        self.table.zero_()
        if high - low > 1e-5:
            among = torch.from_numpy(values[(values >= low) & (values <= high)])
            scaled = _scaled(among, torch.from_numpy(bounds)).numpy()
            self.table.copy_(torch.from_numpy(tabulated(*expectation_maximisation(scaled))))

    def noisy_probability(self, losses: Tensor) -> Tensor:
        """How likely each label is wrong, `[B]` of the losses' type, in [1e-4, 1 − 1e-4]."""
        scaled = _scaled(losses, self.bounds)
        place = (scaled * POINTS).long().clamp(0, POINTS - 1)
        return self.table[place].clamp(LEAST, 1 - LEAST).to(losses.dtype)


def _scaled(losses: Tensor, bounds: Tensor) -> Tensor:
    """Losses brought into (0, 1) by their bounds `[2]`."""
    low = bounds[0] + 1e-5
    found = (losses - low) / (bounds[1] - low + 1e-6)
    return torch.where(found <= 0, INSIDE, torch.where(found >= 1, 1 - INSIDE, found))


def expectation_maximisation(values: Values) -> tuple[Values, Values, Values]:
    """α, β and weight of two components, `[2]` each, after ten iterations; values in (0, 1).

    The M-step is by moments: the weighted mean and variance are those of the component.
    """
    values = values.clip(LEAST, 1 - LEAST)
    alpha, beta, weight = np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([0.5, 0.5])
    for _ in range(ITERATIONS):
        share = np.exp(_log_densities(values, alpha, beta, weight)).clip(LEAST_SHARE)
        share /= share.sum(-1, keepdims=True)
        weight = share.sum(0) / share.sum()
        of_each = share / share.sum(0)
        mean = (of_each * values[:, None]).sum(0)
        variance = (of_each * (values[:, None] - mean) ** 2).sum(0).clip(LEAST_VARIANCE)
        alpha = mean * (mean * (1 - mean) / variance - 1)
        beta = alpha * (1 - mean) / mean
    return alpha, beta, weight


def tabulated(alpha: Values, beta: Values, weight: Values) -> Values:
    """How likely a value is of the component of larger mean, at 100 points from 0 to 1."""
    points = np.linspace(1e-12, 1 - 1e-12, POINTS)
    mean = alpha / (alpha + beta)
    of_clean, of_noisy = _log_densities(points, alpha, beta, weight).T[mean.argsort(kind="stable")]
    found: Values = 1 / (1 + np.exp((of_clean - of_noisy).clip(-500, 500)))
    middle = int(np.searchsorted(points, mean.min()))
    top = middle + int(found[middle:].argmax())
    found[top:] = found[top]
    found[:middle] = found[:middle].clip(max=found[middle])
    return found


def _log_densities(values: Values, alpha: Values, beta: Values, weight: Values) -> Values:
    """The logarithm of each component's weight times its density, `[n, 2]`."""
    norms = [lgamma(a + b) - lgamma(a) - lgamma(b) for a, b in zip(alpha, beta, strict=True)]
    left, right = np.log(values)[:, None], np.log1p(-values)[:, None]
    found: Values = (alpha - 1) * left + (beta - 1) * right + np.array(norms) + np.log(weight)
    return found
