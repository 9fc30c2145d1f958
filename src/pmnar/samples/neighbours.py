"""What a sample's nearest neighbours say of its label."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pmnar.samples.targets import one_hot

BLOCK = 2**24
"""Numbers that are worked on at a time: similarities, and votes."""
LEAST, SHARE = 10, 250
"""A sample asks one in 250 of all, 200 of 50,000 as SSR does, and at least 10."""


def neighbours_asked(size: int) -> int:
    """How many neighbours of `size` samples each asks, itself among them."""
    return min(max(LEAST, size // SHARE), size)


def nearest(features: Tensor, count: int) -> Tensor:
    """Each sample's nearest others by cosine, int32 `[N, min(count, N − 1)]`; not itself.

    Args:
        features: of length 1, `[N, F]`.
        count: how many, at least 1.
    """
    size, features = len(features), features.float()  # half precision would confuse neighbours
    found = []
    for rows in torch.split(torch.arange(size, device=features.device), max(BLOCK // size, 1)):
        similar = features[rows] @ features.T
        similar[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
        found.append(similar.topk(min(count, size - 1)).indices.int())
    return torch.cat(found)


def votes(
    labels: Tensor, neighbours: Tensor, num_classes: int, weights: Tensor | None = None
) -> Tensor:
    """The share of each class among a sample's neighbours, at least float32, `[B, K]`.

    Args:
        labels: int64 `[N]`.
        neighbours: `[B, k]`, as `nearest` gives them.
        num_classes: K.
        weights: of the neighbours, `[B, k]`, whose sum is 1; None: all count the same.
    """
    size = max(BLOCK // (neighbours.shape[1] * num_classes), 1)
    found = []
    for rows in torch.split(torch.arange(len(neighbours), device=neighbours.device), size):
        cast = one_hot(labels[neighbours[rows].long()], num_classes)
        if weights is None:
            found.append(cast.mean(1))
        else:
            found.append((weights[rows][:, :, None] * cast).sum(1))
    return torch.cat(found)


@torch.no_grad()
def balanced_votes(features: Tensor, labels: Tensor, num_classes: int, count: int) -> Tensor:
    """What each sample's nearest neighbours, itself among them, say of its label.

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
    counted = one_hot(labels, num_classes)
    sizes = counted.sum(0)
    if count > 1:
        others = nearest(F.normalize(features.float(), dim=-1), count - 1)
        # Whole votes, so that equal ones stay equal.
        counted = counted + ((count - 1) * votes(labels, others, num_classes)).round()
    counted = counted / sizes.clamp_min(1)
    return counted / counted.sum(-1, keepdim=True)


def agreed(votes: Tensor, labels: Tensor) -> Tensor:
    """In each class as many samples as agree in the median class, bool `[N]` (MOIT).

    A sample agrees where most of its neighbours have its label. Those that have the larger share of
    them come first, shares under 1 % and over 99 % counting as those; equal ones in their order.
    Of an even number of classes the lower one in the middle is the median. Classes with fewer than
    two samples do not count, as no neighbour can have a label that nobody else has; where all
    are such, all samples are kept.

    Args:
        votes: shares, `[N, K]`.
        labels: the given ones, int64 `[N]`.
    """
    given = one_hot(labels, votes.shape[-1])
    sizes = given.sum(0).long()
    agree = (votes.argmax(-1) == labels).float() @ given
    agree = agree.masked_fill(sizes < 2, torch.inf).sort().values
    kept = agree[((sizes > 1).sum() - 1) // 2]
    share = votes.gather(-1, labels[:, None]).squeeze(-1).clamp(0.01, 0.99)
    order = share.argsort(descending=True, stable=True)
    order = order[labels[order].argsort(stable=True)]
    before = sizes.cumsum(0) - sizes
    place = torch.arange(len(labels), device=labels.device) - before[labels[order]]
    found = torch.zeros_like(labels, dtype=torch.bool)
    found[order] = place < kept
    return found
