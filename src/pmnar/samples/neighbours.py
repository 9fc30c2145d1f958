"""What the labels of a sample's neighbours say: votes among those with similar features."""

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 2**24
"""Similarities worked on at a time."""
LEAST, SHARE = 10, 250
"""A sample asks one in 250 of all, 200 of 50,000 as SSR does, and at least 10."""


def neighbours_asked(size: int) -> int:
    """How many neighbours of `size` samples each asks, itself among them."""
    return min(max(LEAST, size // SHARE), size)


@torch.no_grad()
def votes(features: Tensor, labels: Tensor, num_classes: int, count: int) -> Tensor:
    """Of each sample's nearest neighbours by cosine, itself among them, how many are of each label.

    A class's votes count by how few samples it has, so that a large one wins no vote by its size
    (SSR, Feng et al., BMVC 2022, which asks for the labels that its network has put in place).

    Args:
        features: `[N, F]`, in no need of a norm.
        labels: int64 `[N]`.
        num_classes: K.
        count: neighbours asked, in [1, N].

    Returns:
        Shares of the votes, float32 `[N, K]`, rows sum to 1.
    """
    unit = F.normalize(features.float(), dim=-1)
    sizes = torch.zeros(num_classes, device=labels.device)
    sizes = sizes.index_add(0, labels, torch.ones_like(labels, dtype=sizes.dtype))
    each = (1 / sizes.clamp_min(1))[labels]
    found = []
    for block in torch.split(unit, max(BLOCK // len(unit), 1)):
        nearest = (block @ unit.T).topk(count).indices
        counted = torch.zeros(len(block), num_classes, device=labels.device)
        found.append(counted.scatter_add(1, labels[nearest], each[nearest]))
    counted = torch.cat(found)
    return counted / counted.sum(-1, keepdim=True)
