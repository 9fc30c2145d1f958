"""How long to train, and what, by how many images there are: numbers in, numbers out.

What a paper says was found on 50,000 images and days of a GPU. These are starts for less of both,
for labels of unknown noise; `benchmarks/small_data.py` is where they come from.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from math import ceil
from typing import NamedTuple

STEPS = 4000
"""Of training, at least: reweighting that began after 250 steps lost classes, after 1,000 of 2,000
steps it did well, and the cosine or the milestones want some room behind that."""
WARM_UP = 1000
"""Steps of warm-up, at least."""
FEWEST, MOST = 90, 400
"""Epochs: large sets get the fewest, about what folders were given before; in more than the most
the tests and passes between epochs would cost more than the steps."""
BATCH_SIZES = (64, 32, 16, 8)
STEPS_OF_AN_EPOCH = 10
"""At least, or the batch is halved: with fewer the last, odd batch is much of an epoch."""


class Network(NamedTuple):
    """Channels of the first stage, and what the stem divides height and width by."""

    width: int
    stem_stride: int


class Fitted(NamedTuple):
    """A network's place among the choices, how many epochs of it, and the seconds of one."""

    place: int
    epochs: int
    seconds: float


def batch_size(images: int) -> int:
    """The largest of `BATCH_SIZES` that makes enough steps of an epoch, or what there are."""
    for size in BATCH_SIZES:
        if images >= STEPS_OF_AN_EPOCH * size:
            return size
    return min(BATCH_SIZES[-1], images)


def steps(images: int, batch: int) -> int:
    """Steps of an epoch; a last batch of one image is left out."""
    full, rest = divmod(images, batch)
    return full + (rest >= 2)


def epochs(images: int, batch: int) -> int:
    """As many as make `STEPS`, from `FEWEST` to `MOST`."""
    return min(max(ceil(STEPS / steps(images, batch)), FEWEST), MOST)


def warm_up(configured: int, of_an_epoch: int, all_epochs: int) -> int:
    """Epochs of a method's warm-up: at least `WARM_UP` steps, at most half of all epochs.

    Args:
        configured: epochs; 0, for a method that has none, stays.
        of_an_epoch: steps.
        all_epochs: of the run.
    """
    if configured == 0:
        return 0
    return min(max(configured, ceil(WARM_UP / of_an_epoch)), all_epochs // 2)


def scaled(places: Sequence[int], of: int, to: int) -> list[int]:
    """Places among `of` epochs at the same share of `to` epochs, each at least 1."""
    return [max(round(place * to / of), 1) for place in places]


def cycle(all_epochs: int, configured: int) -> int:
    """Epochs of a cycle of the learning rate, about as many as configured, or more.

    Cycles are whole: a run that ended in the midst of one would end at a high rate.
    """
    number = max(round(all_epochs / configured), 1)
    while all_epochs % number:
        number -= 1
    return all_epochs // number


def shortened(lengths: Sequence[int], to: int) -> list[int]:
    """Stages of so many epochs in `to` epochs altogether, each at least 1."""
    ends = [round(end * to / sum(lengths)) for end in accumulate(lengths, initial=0)]
    return [max(end - begin, 1) for begin, end in pairwise(ends)]


def milestones(all_epochs: int) -> list[int]:
    """After which epochs the learning rate falls: a half and three quarters, as folders have it."""
    return scaled([2, 3], 4, all_epochs)


def image_size(side: int) -> int:
    """Height and width to which a folder's images are scaled.

    Args:
        side: the median of their shorter sides, in pixels.

    Returns:
        The side itself where they are tiny (8 is the least that the networks take); 32, CIFAR's, up
        to where that would throw most of them away, and 64 then, at four times the cost.
    """
    return max(min(side, 32), 8) if side < 96 else 64


def padding(size: int) -> int:
    """Pixels of zeros before the random crop: 4 at 32 pixels, as usual."""
    return max(size // 8, 1)


def networks(side: int) -> tuple[Network, ...]:
    """PreAct ResNet-18s for images of a side, each at least twice as dear as the one before."""
    if side < 24:
        return tuple(Network(width, 1) for width in (8, 16, 32, 64))
    if side < 64:
        return (*(Network(width, 2) for width in (8, 16, 32)), Network(32, 1), Network(64, 1))
    return tuple(Network(width, 2) for width in (8, 16, 32, 64))


def network_for(images: int, classes: int, choices: int) -> int:
    """Which of the networks so many images want: the dearest from 25,000 on.

    For a machine of which nothing is known: 3,000 images take minutes on a core, not days. A
    hundred classes want one more.
    """
    if images >= 25_000:
        return choices - 1
    at = (1 if images < 10_000 else 2) + (classes >= 100)
    return min(at, choices - 1)


def fitted(seconds: float, wanted: int, choices: int, pace: Callable[[int], float]) -> Fitted:
    """The dearest of some networks of which all epochs can be trained in the time.

    Where not even the cheapest can, as many of its epochs as fit, and at least one.

    Args:
        seconds: there are.
        wanted: epochs.
        choices: how many networks there are, the cheapest first; each is at least twice as dear as
            the one before, so that one that has no chance is not asked for its pace.
        pace: seconds of an epoch of a network, by its place.
    """
    chosen, taken = 0, pace(0)
    for dearer in range(1, choices):
        if 2 * taken * wanted > seconds or (its_own := pace(dearer)) * wanted > seconds:
            break
        chosen, taken = dearer, its_own
    fitting = wanted if taken * wanted <= seconds else int(seconds / taken)
    return Fitted(chosen, max(fitting, 1), taken)
