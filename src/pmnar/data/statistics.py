"""Mean and deviation of features, over a training set that need not fit into memory."""

import numpy as np
from torch import Tensor

from pmnar.data.residence import BLOCK

CONSTANT = 1e-6
"""A deviation below so much of the mean is float32's rounding: the feature is constant."""


def feature_statistics(features: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each of D features, in float64, block by block.

    Args:
        features: float32 `[N, D, 1, 1]`, in memory or mapped.

    Returns:
        D means; D deviations (over N), infinite where a feature is constant.
    """
    rows = features.flatten(1).numpy()
    count, mean, squares = 0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK].astype(np.float64)
        its_mean, size = block.mean(0), len(block)
        apart = its_mean - mean
        # Two parts' sums of squares, and what lies between their means (Chan et al. 1983).
        squares += ((block - its_mean) ** 2).sum(0) + apart**2 * (count * size / (count + size))
        count += size
        mean += apart * (size / count)
    deviation = np.sqrt(squares / count)
    constant = deviation <= CONSTANT * np.abs(mean)
    return mean.tolist(), np.where(constant, np.inf, deviation).tolist()
