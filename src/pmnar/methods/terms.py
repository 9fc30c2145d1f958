"""What a method's loss consists of, and how terms become what is minimised."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pmnar.data.batches import Share

Terms = dict[str, Tensor]
"""Terms by name: `[B]`, one a sample of this rank, or what `Share.mean` gave, a scalar."""
Losses = Mapping[str, Terms]
"""For each network's name the terms of its loss, whose sum is minimised."""


def total(terms: Terms, share: Share) -> Tensor:
    """This rank's part of a network's loss, a scalar: its mean over ranks is the global mean.

    DistributedDataParallel averages gradients over ranks.
    """
    of_samples = [values for values in terms.values() if values.ndim]
    of_batch = [value for value in terms.values() if not value.ndim]
    if of_samples:
        of_batch = [torch.stack(of_samples).sum() * (share.world / share.size), *of_batch]
    return of_batch[0] if len(of_batch) == 1 else torch.stack(of_batch).sum()


def mean_over(rows: Tensor, weights: Tensor, share: Share) -> Tensor:
    """`Σ weights · rows / Σ weights` over the global batch, as a term that is a scalar.

    0 where all weights are. Both are this rank's, `[B]`.
    """
    total_weight = share.whole(weights).sum()
    total_weight = torch.where(total_weight > 0, total_weight, 1)
    return share.mean(weights * rows) * (share.size / total_weight)


@torch.no_grad()
def sums(losses: Losses, share: Share) -> Terms:
    """Each term's sum over this rank's samples, float64, over networks where the name is the same.

    What a batch has one value of counts as that value for each of its samples.
    """
    found = by_name(losses)
    of_batch = share.size / share.world
    return {
        name: values.sum(dtype=torch.float64) * (1 if values.ndim else of_batch)
        for name, values in found.items()
    }


def by_name(losses: Losses) -> Terms:
    """The terms of all networks, added where they have the same name."""
    found: Terms = {}
    for of_network in losses.values():
        for name, values in of_network.items():
            found[name] = found[name] + values if name in found else values
    return found
