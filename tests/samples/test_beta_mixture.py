"""The mixture of two Betas against plain loops, and what it makes of losses that tell nothing."""

from math import exp, gamma, log

import numpy as np
import pytest
import torch
from torch import Tensor

from pmnar.samples import beta_mixture
from pmnar.samples.beta_mixture import BetaMixture, expectation_maximisation, tabulated


def two_heaps(size: int = 300, noisy: float = 0.4, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Losses, and whose label is wrong."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(size) < noisy
    losses = np.where(wrong, generator.gamma(9, 0.4, size), generator.gamma(2, 0.15, size))
    return torch.from_numpy(losses), torch.from_numpy(wrong)


def density(x: float, a: float, b: float) -> float:
    return float(gamma(a + b) / gamma(a) / gamma(b) * x ** (a - 1) * (1 - x) ** (b - 1))


def plain(values: list[float]) -> list[list[float]]:
    """Ten rounds from (1, 2) and (2, 1); α, β and weight of each component."""
    parts = [[1.0, 2.0, 0.5], [2.0, 1.0, 0.5]]
    values = [min(max(x, 1e-4), 1 - 1e-4) for x in values]
    for _ in range(10):
        rows = []
        for x in values:
            row = [max(w * density(x, a, b), 1e-12) for a, b, w in parts]
            rows.append([each / sum(row) for each in row])
        for k in (0, 1):
            mass = sum(row[k] for row in rows)
            mean = sum(row[k] * x for row, x in zip(rows, values, strict=True)) / mass
            spread = sum(row[k] * (x - mean) ** 2 for row, x in zip(rows, values, strict=True))
            a = mean * (mean * (1 - mean) / (spread / mass) - 1)
            parts[k] = [a, a * (1 - mean) / mean, mass / len(values)]
    return parts


def test_the_fit_and_its_table_are_the_plain_loop_s() -> None:
    losses, _ = two_heaps()
    mixture = BetaMixture()
    mixture.fit(losses)
    ordered: list[float] = losses.sort().values.tolist()

    def percentile(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        return ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])

    low, high = percentile(0.05), percentile(0.95)
    assert mixture.bounds.tolist() == pytest.approx([low, high])

    def scaled(loss: float) -> float:
        s = (loss - (low + 1e-5)) / (high - (low + 1e-5) + 1e-6)
        return 1e-3 if s <= 0 else 1 - 1e-3 if s >= 1 else s

    parts = plain([scaled(each) for each in losses.tolist() if low <= each <= high])
    assert parts[0][0] / parts[0][1] < parts[1][0] / parts[1][1]
    table = []
    for k in range(100):
        x = 1e-12 + k / 99 * (1 - 2e-12)
        of_clean, of_noisy = (w * density(x, a, b) for a, b, w in parts)
        table.append(of_noisy / (of_clean + of_noisy))
    middle = next(k for k in range(100) if k / 99 >= parts[0][0] / (parts[0][0] + parts[0][1]))
    top = max(range(middle, 100), key=lambda k: table[k])
    for k in range(100):
        expected = table[top] if k > top else min(table[k], table[middle] if k < middle else 1)
        assert float(mixture.table[k]) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    for loss, found in zip(losses, mixture.noisy_probability(losses).tolist(), strict=True):
        place = min(int(100 * scaled(float(loss))), 99)
        expected = min(max(float(mixture.table[place]), 1e-4), 1 - 1e-4)
        assert found == pytest.approx(expected)


def test_it_tells_wrong_labels_from_right_ones() -> None:
    losses, wrong = two_heaps(2000)
    mixture = BetaMixture()
    mixture.fit(losses)
    found = mixture.noisy_probability(losses)
    assert float(((found > 0.5) == wrong).double().mean()) > 0.92
    assert found[wrong].mean() > 0.6
    assert found[~wrong].mean() < 0.01


def test_moments_give_back_the_parameters_that_they_are_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where components do not overlap, the M-step is that of each on its own."""
    generator = np.random.default_rng(0)
    heaps = (generator.beta(30, 900, 4000), generator.beta(900, 30, 1000))
    monkeypatch.setattr(beta_mixture, "ITERATIONS", 30)
    alpha, beta, weight = expectation_maximisation(np.concatenate(heaps))
    for k, heap in enumerate(heaps):
        mean, variance = heap.mean(), heap.var()
        a = mean * (mean * (1 - mean) / variance - 1)
        assert [alpha[k], beta[k]] == pytest.approx([a, a * (1 - mean) / mean], rel=1e-6)
    assert weight.tolist() == pytest.approx([0.8, 0.2])


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("noisy", [(2.0, 1.0), (1.0, 1.2), (0.7, 0.6), (40.0, 9.0)])
def test_the_larger_a_loss_the_likelier_is_its_label_wrong(
    noisy: tuple[float, float], swapped: bool
) -> None:
    """Also where the wider component would take both ends: from the smaller mean on it rises."""
    parts = np.array([(4.0, 30.0), noisy])[:: -1 if swapped else 1]
    table = tabulated(parts[:, 0], parts[:, 1], np.array([0.5, 0.5]))
    middle = int(4 / 34 * 99) + 1
    assert (table[:middle] <= table[middle]).all()
    assert table[middle] < 0.5 < table.max() == table[-1]


@pytest.mark.parametrize(
    "losses",
    [
        torch.full((50,), 2.3),
        torch.cat([torch.full((49,), 0.1), torch.tensor([9.0])]),
        torch.zeros(2),
    ],
)
def test_losses_that_tell_nothing_make_no_label_wrong(losses: Tensor) -> None:
    mixture = BetaMixture()
    mixture.fit(torch.rand(50))
    mixture.fit(losses)
    assert torch.equal(mixture.noisy_probability(losses), torch.full_like(losses, 1e-4))


@pytest.mark.parametrize("share", [0.5, 0.1, 0.9])
def test_two_values_are_two_kinds(share: float) -> None:
    losses = torch.where(torch.arange(100) < 100 * share, 0.01, 5.0)
    mixture = BetaMixture()
    mixture.fit(losses)
    found = mixture.noisy_probability(losses)
    assert torch.equal(found > 0.5, losses > 1)
    assert mixture.table.isfinite().all()


def test_before_a_fit_no_label_is_wrong() -> None:
    found = BetaMixture().noisy_probability(torch.tensor([0.0, 1.0, 1e30]))
    assert torch.equal(found, torch.full((3,), 1e-4))


def test_the_densities_integrate_to_their_weights() -> None:
    points = (np.arange(20_000) + 0.5) / 20_000
    found = beta_mixture._log_densities(
        points, np.array([2.0, 7.0]), np.array([5.0, 3.0]), np.array([0.3, 0.7])
    )
    assert np.exp(found).mean(0).tolist() == pytest.approx([0.3, 0.7], rel=1e-4)
    assert found[100, 0] == pytest.approx(log(0.3 * density(points[100], 2.0, 5.0)))
    assert exp(found[9000, 1]) == pytest.approx(0.7 * density(points[9000], 7.0, 3.0))
