"""Small-loss selection against a plain loop."""

import pytest
import torch

from pmnar.samples.selection import most_likely, same_number_of_each_class, small_loss


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


@pytest.mark.parametrize("fewest", [1, 6, 12])
def test_the_likeliest_are_those_over_the_threshold_or_so_many(fewest: int) -> None:
    scores = torch.tensor([0.9, 0.1, 0.6, 0.6, 0.5, 0.2, 0.2, 0.0, 0.7, 0.3, 0.2, 0.1])
    found = most_likely(scores, 0.5, fewest).nonzero()[:, 0].tolist()
    expected = {1: [0, 2, 3, 8], 6: [0, 2, 3, 4, 8, 9], 12: list(range(12))}
    assert found == expected[fewest]


@pytest.mark.parametrize("share", [1.0, 0.6, 0.3, 1e-6])
@pytest.mark.parametrize("fewest", [1, 8])
def test_each_class_has_the_same_number_of_its_lowest(share: float, fewest: int) -> None:
    torch.manual_seed(0)
    scores, labels = torch.rand(40), torch.randint(4, (40,))
    labels[labels == 2] = 0
    labels[7] = 2  # a class of one
    scores[3] = scores[5]
    found = same_number_of_each_class(scores, labels, share, 5, fewest)
    number = max(int(share * 40 / 5), -(-fewest // 5))
    for k in range(5):
        members = [i for i in range(40) if labels[i] == k]
        lowest = sorted(members, key=lambda i: float(scores[i]))[:number]
        assert set(lowest) == {i for i in members if found[i]}
