"""Which samples are trained on, of a batch or of all."""

from math import ceil

import torch
from torch import Tensor


@torch.no_grad()
def small_loss(losses: Tensor, keep: float | Tensor, among: Tensor | None = None) -> Tensor:
    """Factors that leave the share `keep` of smallest losses (Co-teaching, Algorithm 1).

    Of M candidates `int(keep · M)`, at least one, stay. Their factor is `B / kept`, that of the
    others 0, so that the mean over the batch of `factor · loss` is the mean over those kept. With
    no candidate all factors are 0. Equal losses stay in the batch's order. Reads nothing from the
    device.

    Args:
        losses: one a sample of the whole batch, over all ranks, `[B]`.
        keep: in [0, 1]; a tensor is float64 `[]`.
        among: the candidates, bool `[B]`; None: all.

    Returns:
        `[B]`, of the losses' type.
    """
    candidates = torch.ones_like(losses, dtype=torch.bool) if among is None else among
    count = candidates.sum()
    # In float64 as `int(keep · M)` is.
    kept = torch.minimum((count.double() * keep).floor().clamp_min(1), count)
    ranks = losses.masked_fill(~candidates, torch.inf).argsort(stable=True).argsort()
    chosen = candidates & (ranks < kept)
    return chosen * (len(losses) / kept.clamp_min(1)).to(losses.dtype)


def most_likely(scores: Tensor, threshold: float, fewest: int) -> Tensor:
    """The samples whose score is over a threshold, or so many of the highest: bool `[N]`.

    Of equal scores the first count as higher.
    """
    ranks = scores.argsort(descending=True, stable=True).argsort()
    return (scores > threshold) | (ranks < fewest)


def same_number_of_each_class(
    scores: Tensor, labels: Tensor, share: float, num_classes: int, fewest: int
) -> Tensor:
    """Of every class the `int(share · N / K)` lowest scores: bool `[N]`.

    That is UNICON's uniform selection. A class that has no more has all of its samples chosen; of
    equal scores the first.

    Args:
        scores: `[N]`.
        labels: int64 `[N]`, in [0, K).
        share: of all samples, in (0, 1].
        num_classes: K.
        fewest: how many there are to be of all classes together, at least 1.
    """
    number = max(int(share * len(scores) / num_classes), ceil(fewest / num_classes))
    return _places(scores, labels, num_classes)[0] < number


def same_share_of_each_class(
    scores: Tensor, labels: Tensor, share: float, num_classes: int
) -> Tensor:
    """Of every class of n samples the `int(share · n)` lowest scores, at least one: bool `[N]`.

    Of equal scores the first count as lower.

    Args:
        scores: `[N]`.
        labels: int64 `[N]`, in [0, K).
        share: in (0, 1].
        num_classes: K.
    """
    places, counts = _places(scores, labels, num_classes)
    return places < (share * counts.double()).floor().clamp_min(1)[labels]


def _places(scores: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Each sample's place in its class, the lowest score first, `[N]`; how large classes are."""
    by_score = scores.argsort(stable=True)
    by_class = by_score[labels[by_score].argsort(stable=True)]
    counts = torch.bincount(labels, minlength=num_classes)
    firsts = (counts.cumsum(0) - counts)[labels[by_class]]
    places = torch.empty_like(labels)
    places[by_class] = torch.arange(len(scores), device=scores.device) - firsts
    return places, counts


def same_frequency(labels: Tensor, among: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """So many draws from some samples, as many of each class: positions, int64 `[size]`, on a CPU.

    A class that has any gets its part of the draws, give or take one; of them each of its samples
    gets as many as any other, give or take one. The order is random.

    Args:
        labels: int64 `[N]`, on a CPU.
        among: from which samples, bool `[N]`; at least one.
        size: how many draws.
        generator: for them.
    """
    classes = torch.bincount(labels[among]).nonzero().squeeze(1)
    classes = classes[torch.randperm(len(classes), generator=generator)]
    drawn = []
    for place, k in enumerate(classes):  # the first ones get what is left over
        members = (among & (labels == k)).nonzero().squeeze(1)
        wanted = size // len(classes) + (place < size % len(classes))
        rounds = torch.rand(ceil(wanted / len(members)), len(members), generator=generator)
        drawn.append(members[rounds.argsort(1).flatten()[:wanted]])
    found = torch.cat(drawn)
    return found[torch.randperm(size, generator=generator)]
