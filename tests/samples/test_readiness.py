"""Agreement beyond chance against a plain count."""

import pytest
import torch

from pmnar.samples.readiness import agreement, trust


def test_agreement_is_a_plain_count_s() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randint(4, (200,), generator=generator)
    right = torch.where(torch.rand(200, generator=generator) < 0.6, left, left.flip(0))
    pairs = list(zip(left.tolist(), right.tolist(), strict=True))
    same = sum(a == b for a, b in pairs) / 200
    chance = sum(
        sum(a == k for a, _ in pairs) * sum(b == k for _, b in pairs) for k in range(4)
    ) / (200**2)
    expected = (same - chance) / (1 - chance)
    assert float(agreement(left, right, 4)) == pytest.approx(expected, rel=1e-12)


def test_it_is_1_for_the_same_predictions_and_0_for_one_class_or_none_in_common() -> None:
    some = torch.arange(10) % 5
    assert float(agreement(some, some, 5)) == 1
    constant = torch.zeros(10, dtype=torch.int64)
    assert float(agreement(some, constant, 5)) == pytest.approx(0, abs=1e-12)
    assert float(agreement(constant, constant, 5)) == 0


def test_independent_predictions_agree_by_chance_whatever_their_shares() -> None:
    generator = torch.Generator().manual_seed(1)
    shares = torch.tensor([0.8, 0.1, 0.05, 0.05])
    left, right = shares.expand(20_000, 4).multinomial(2, True, generator=generator).T
    assert abs(float(agreement(left, right, 4))) < 0.02


def test_trust_begins_at_a_half_and_is_whole_where_all_is_agreed_on() -> None:
    assert [trust(agreed) for agreed in (-0.2, 0.5, 0.625, 0.75, 1.0)] == [0, 0, 0.25, 0.5, 1]
