"""Mixtures of losses against plain loops; identities of divergences."""

from math import e, exp, log, pi, sqrt

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from pmnar.samples.mixtures import clean_probability, jensen_shannon, rescaled, selected_share


def two_heaps(size: int = 200, apart: float = 3.0) -> Tensor:
    """Losses of right labels and, every third, of wrong ones."""
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randn(size, generator=generator, dtype=torch.float64).abs()
    drawn[::3] += apart
    return rescaled(drawn)


def density(x: float, mean: float, variance: float) -> float:
    return exp(-((x - mean) ** 2) / (2 * variance)) / sqrt(2 * pi * variance)


def plain(values: list[float], seed: int) -> list[float]:
    """Ten rounds at most, from k-means' groups, until the mean log-likelihood gains under .01."""
    column = [[value] for value in values]
    groups = KMeans(2, n_init=1, random_state=seed).fit(column).labels_.tolist()
    shares = [[float(group == k) for k in (0, 1)] for group in groups]
    parts = moments(values, shares)
    before, found = -float("inf"), shares
    for _ in range(10):
        found = posterior(values, parts)
        likely = [sum(w * density(v, m, s) for w, m, s in parts) for v in values]
        now = sum(map(log, likely)) / len(values)
        parts = moments(values, found)
        if abs(now - before) < 1e-2:
            break
        before = now
    low = min((0, 1), key=lambda k: parts[k][1])
    return [row[low] for row in posterior(values, parts)]


def moments(values: list[float], shares: list[list[float]]) -> list[tuple[float, float, float]]:
    """Weight, mean and variance of each component."""
    found = []
    for k in (0, 1):
        mass = sum(row[k] for row in shares)
        mean = sum(row[k] * v for row, v in zip(shares, values, strict=True)) / mass
        spread = sum(row[k] * (v - mean) ** 2 for row, v in zip(shares, values, strict=True))
        found.append((mass / len(values), mean, spread / mass + 5e-4))
    return found


def posterior(values: list[float], parts: list[tuple[float, float, float]]) -> list[list[float]]:
    rows = [[w * density(v, m, s) for w, m, s in parts] for v in values]
    return [[each / sum(row) for each in row] for row in rows]


@pytest.mark.parametrize("apart", [3.0, 1.0])
def test_it_is_the_plain_mixture(apart: float) -> None:
    losses = two_heaps(apart=apart)
    expected = torch.tensor(plain(losses.tolist(), 7))
    torch.testing.assert_close(clean_probability(losses, 7), expected, rtol=1e-5, atol=1e-6)


def test_it_tells_heaps_apart_and_has_a_seed() -> None:
    losses = two_heaps(apart=6.0)
    found = clean_probability(losses, 2**40 + 1)
    wrong = torch.arange(len(losses)) % 3 == 0
    assert found.dtype == torch.float32
    assert (found[wrong] < 0.01).all()
    assert (found[~wrong] > 0.99).all()
    assert torch.equal(found, clean_probability(losses, 2**40 + 1))


@pytest.mark.parametrize("losses", [torch.zeros(5), torch.full((3,), 0.7)])
def test_equal_losses_tell_nothing(losses: Tensor) -> None:
    assert torch.equal(clean_probability(rescaled(losses), 0), torch.ones(len(losses)))


def test_two_samples_and_an_outlier_are_no_trouble() -> None:
    for losses in ([0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [1e-9, 0.0, 2e-9, 1.0]):
        found = clean_probability(torch.tensor(losses), 1)
        assert found.isfinite().all()
        assert found[-1] < 0.5 < found[0]


def test_rescaled_losses_fill_the_unit_interval() -> None:
    found = rescaled(torch.tensor([3.0, 5.0, 4.0]))
    assert found.tolist() == [0, 1, 0.5]
    assert rescaled(torch.full((3,), 2.0)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("base", [e, 2.0])
def test_the_divergence_is_its_definition_s(base: float) -> None:
    """`½ KL(p ‖ m) + ½ KL(y ‖ m)`, m half of each, summed over classes."""
    p = torch.randn(40, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p, y = (3 * p).softmax(-1), torch.arange(40) % 6
    expected = []
    for row, given in zip(p.tolist(), y.tolist(), strict=True):
        label = [float(k == given) for k in range(6)]
        middle = [(a + b) / 2 for a, b in zip(row, label, strict=True)]
        sides = [
            sum(a * log(a / m) / log(base) for a, m in zip(side, middle, strict=True) if a)
            for side in (row, label)
        ]
        expected.append(sum(sides) / 2)
    found = jensen_shannon(p.gather(-1, y[:, None])[:, 0], base)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("base", [e, 2.0])
def test_the_divergence_is_0_where_they_agree_and_log_2_where_not(base: float) -> None:
    found = jensen_shannon(torch.tensor([1.0, 0.0, 1e-30, 1 - 1e-7]), base)
    assert found[0] == 0
    assert found[1] == pytest.approx(log(2) / log(base))
    assert ((found >= 0) & (found <= log(2) / log(base) + 1e-12)).all()
    confidence = torch.linspace(0, 1, 101)
    assert (jensen_shannon(confidence, base).diff() < 0).all()


def test_the_share_is_of_those_under_the_mean_or_under_less() -> None:
    divergence = torch.tensor([0.1, 0.5, 0.9, 0.9], dtype=torch.float64)  # mean .6
    assert selected_share(divergence, most=0.7, divisor=5) == 0.5
    assert selected_share(divergence, most=0.5, divisor=5) == 0.25, "under .6 − .5 / 5, not .5"
    assert selected_share(torch.full((4,), 0.3, dtype=torch.float64), 0.7, 5) == 1
