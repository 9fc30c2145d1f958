"""Sums of an epoch's losses, on the device until it ends."""

import torch
from torch import Tensor

from pmnar.methods.terms import Terms
from pmnar.runtime.gather import least_over_ranks, sum_over_ranks


class EpochSums:
    """Adds up each term of the loss over the steps of an epoch: nothing waits for the result."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.count = 0

    @torch.no_grad()
    def add(self, found: Terms, size: int, step: int) -> None:
        """Add a batch's sums, by term, over this rank's `size` samples.

        Args:
            found: a scalar a term, the same terms in each step of an epoch.
            size: samples.
            step: of the epoch, from 0.
        """
        values = torch.stack(list(found.values()))
        if not self.names:
            self.names = tuple(found)
            self.values = torch.zeros_like(values)
            self.first_bad_step = torch.full((), torch.inf, device=values.device)
        self.values += values
        self.count += size
        bad = torch.where(values.isfinite().all(), torch.inf, float(step + 1))
        self.first_bad_step = torch.minimum(self.first_bad_step, bad)

    def means(self) -> dict[str, float]:
        """Each term's mean over all samples of all ranks, and `loss`, their sum."""
        count = self.values.new_tensor([self.count])
        *sums, total_count = sum_over_ranks(torch.cat([self.values, count])).tolist()
        means = [total / total_count for total in sums]
        return dict(zip(self.names, means, strict=True)) | {"loss": sum(means)}

    def bad_step(self) -> Tensor:
        """The first step, from 1, of any rank, in which a term was not finite; infinity if none."""
        # Of all ranks: they must stop together, not wait for one that has stopped.
        return least_over_ranks(self.first_bad_step)
