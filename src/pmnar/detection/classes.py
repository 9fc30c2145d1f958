"""Classes that a network has stopped predicting."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LOST = 10
"""A class is lost that is predicted for fewer than a tenth of as many samples as it is given to."""


SHOWN = 8
"""How many of them a line names."""


@dataclass(frozen=True)
class ClassCounts:
    """What a network says of the training samples, class by class.

    Attributes:
        given: samples that are given the class, int64 `[K]`.
        predicted: samples for which it is predicted, int64 `[K]`.
        right: samples of which both is true, int64 `[K]`.
    """

    given: Tensor
    predicted: Tensor
    right: Tensor

    @property
    def recall(self) -> Tensor:
        """Recall of each class on the given labels, float64 `[K]`; NaN for one given to none."""
        return self.right.double() / self.given

    @property
    def lost(self) -> list[int]:
        """The classes whose share of the predictions is under a tenth of that of the labels."""
        return (LOST * self.predicted < self.given).nonzero()[:, 0].tolist()


def class_counts(prediction: Tensor, given: Tensor, num_classes: int) -> ClassCounts:
    """Counts on the CPU of each class in predictions and given labels, int64 `[N]` in [0, K)."""
    right = given[prediction == given]
    counted = (given, prediction, right)
    return ClassCounts(*(torch.bincount(each, minlength=num_classes).cpu() for each in counted))


def describe_lost(counts: ClassCounts, lost: Sequence[int], class_names: Sequence[str]) -> str:
    """`bird: 3/480, cat: 0/512`: the first few, for how many samples predicted and given."""
    shown = [
        f"{class_names[k]}: {int(counts.predicted[k])}/{int(counts.given[k])}" for k in lost[:SHOWN]
    ]
    more = [f"and {len(lost) - SHOWN:,} more"] if len(lost) > SHOWN else []
    return ", ".join([*shown, *more])
