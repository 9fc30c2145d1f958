"""Transition matrices: how likely a sample of a class is given each label.

Rows are true classes, columns given labels; rows are of sum 1.
"""

from math import ceil

import torch
from torch import Tensor

from pmnar.errors import InputError

LARGEST_CONDITION = 100.0
"""Of a matrix that is inverted: beyond it, losses are mostly the matrix's own error."""
MORE = 0.1
"""The share of what is left by which the identity's part grows, until a matrix can be inverted."""


def from_anchors(probabilities: Tensor, percentile: float = 100.0) -> Tensor:
    """The matrix as each class's anchor tells it (Patrini et al., 2017, Eq. 12 and 13).

    The anchor of a class is the sample that a network trained on the given labels finds likeliest
    to be given it: what it predicts there is the class's row.

    Args:
        probabilities: of each sample's given label, `[N, K]`.
        percentile: in (0, 100]: the anchor is the sample at this percentile of the probability,
            or the next larger; 100 is the largest, below it outliers do not count.

    Returns:
        float64 `[K, K]`.
    """
    place = ceil(percentile / 100 * (len(probabilities) - 1))
    anchors = [column.argsort(stable=True)[place] for column in probabilities.T]
    rows = probabilities[torch.stack(anchors)].double()
    return rows / rows.sum(-1, keepdim=True)


def with_identity(matrix: Tensor, share: float) -> Tensor:
    """`(1 − share) T + share I`: as if there were less noise."""
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return (1 - share) * matrix + share * identity


def is_invertible(matrix: Tensor) -> bool:
    """Whether a matrix can be inverted and its losses still mean something."""
    return bool(torch.linalg.cond(matrix) <= LARGEST_CONDITION)


def share_to_invert(matrix: Tensor, share: float = 0.0) -> float:
    """The identity's part in [share, 1) with which a matrix can be inverted."""
    while not is_invertible(with_identity(matrix, share)):
        share += MORE * (1 - share)
    return share


def check_invertible(matrix: Tensor, source: str) -> None:
    """Raise `InputError` unless the matrix can be inverted; `source` is where it comes from."""
    if not is_invertible(matrix):
        raise InputError(
            f"{source}: the matrix can hardly be inverted, its condition number is over "
            f"{LARGEST_CONDITION:g}: raise method.identity_share"
        )
