"""Recall of each class, in memory that grows with K alone."""

import torch
from torch import Tensor
from torchmetrics import Metric


class ClassRecall(Metric):
    """The share of each class's samples that are recognised, `[K]`; NaN for one without any.

    torchmetrics' own counts a K×K table through a `[B, K²]` mesh where algorithms must be
    deterministic, gigabytes at 1,000 classes.
    """

    right: Tensor
    count: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in ("right", "count"):
            zeros = torch.zeros(num_classes, dtype=torch.int64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Count a batch: probabilities `[B, K]`, labels int64 `[B]`."""
        # A wrong answer is counted in a bin of its own, K, so that no size depends on the data.
        right = torch.where(probabilities.argmax(-1) == labels, labels, self.num_classes)
        self.right += torch.bincount(right, minlength=self.num_classes + 1)[:-1]
        self.count += torch.bincount(labels, minlength=self.num_classes)

    def compute(self) -> Tensor:
        """Recall by class, float64 `[K]`, in [0, 1] or NaN."""
        return self.right.double() / self.count
