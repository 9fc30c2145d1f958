"""Small-loss selection against a plain loop."""

import pytest
import torch

from pmnar.samples.selection import small_loss


@pytest.mark.parametrize("keep", [1.0, 0.8, 0.55, 0.1, 0.0])
@pytest.mark.parametrize("share", [None, 0.7, 0.1])
def test_it_is_the_mean_over_the_smallest(keep: float, share: float | None) -> None:
    torch.manual_seed(0)
    losses = torch.rand(37, dtype=torch.float64)
    losses[5] = losses[9]  # equal ones stay in their order
    among = None if share is None else torch.rand(37) < share
    candidates = [i for i in range(37) if among is None or among[i]]
    smallest = sorted(candidates, key=lambda i: float(losses[i]))
    kept = smallest[: max(int(keep * len(candidates)), 1)]
    factors = small_loss(losses, keep, among)
    assert set(factors.nonzero()[:, 0].tolist()) == set(kept)
    expected = torch.stack([losses[i] for i in kept]).mean()
    torch.testing.assert_close((factors * losses).mean(), expected)


def test_without_a_candidate_nothing_is_trained_on() -> None:
    assert not small_loss(torch.rand(4), 0.5, torch.zeros(4, dtype=torch.bool)).any()


def test_a_loss_that_is_not_finite_is_never_preferred() -> None:
    losses = torch.tensor([torch.inf, 1.0, torch.nan, 0.5])
    assert small_loss(losses, 0.5).tolist() == [0, 2, 0, 2]
