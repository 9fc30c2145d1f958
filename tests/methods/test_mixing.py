"""MixUp over the global batch: its identities, and equal on any number of ranks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pmnar.data import Share, batches
from pmnar.methods.mixing import Mixing
from pmnar.samples.targets import one_hot

SIZES = [7, 7, 5]


def parts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(s, 2, 3, generator=generator, dtype=torch.float64) for s in SIZES]


def shares(rank: int = 0, world: int = 1) -> list[Share]:
    labelled = Share(1, SIZES[0], rank, world)
    return [labelled, labelled, Share(2, SIZES[2], rank, world)]


@pytest.mark.parametrize("each", [False, True])
def test_a_row_is_mixed_with_its_partner(each: bool) -> None:
    mixing, rows = Mixing(shares(), 0.75, each=each), parts()
    whole, places = torch.cat(rows), torch.arange(sum(SIZES))
    partners = mixing.partners(torch.split(places, SIZES))
    assert partners.sort().values.tolist() == places.tolist()
    for i, mixed in enumerate(mixing(rows)):
        weight = mixing.weight[i] if each else mixing.weight
        expected = weight * whole[i] + (1 - weight) * whole[partners[i]]
        torch.testing.assert_close(mixed, expected)


def test_mixed_labels_are_distributions_and_the_mean_stays() -> None:
    labels = torch.arange(10) % 4
    mixing = Mixing([Share(1, 10)], 1.0)
    target, given = mixing([one_hot(labels, 4)]), one_hot(labels, 4)
    torch.testing.assert_close(target.sum(-1), torch.ones(10))
    torch.testing.assert_close(target.mean(0), given.mean(0))


@pytest.mark.parametrize("each", [False, True])
def test_the_larger_share_is_a_sample_s_own(each: bool) -> None:
    weights = {}
    for larger in (False, True):
        found = [
            Mixing([Share(s, 40)], 0.5, each=each, larger=larger).weight.flatten()
            for s in range(30)
        ]
        weights[larger] = torch.cat(found)
    assert weights[False].min() < 0.2
    assert torch.equal(weights[True], torch.maximum(weights[False], 1 - weights[False]))


@pytest.mark.parametrize("alpha", [0.02, 0.5, 1.0, 32.0])
def test_weights_have_the_moments_of_the_beta_distribution(alpha: float) -> None:
    weights = Mixing([Share(1, 20_000)], alpha, each=True).weight
    assert weights.isfinite().all()
    assert float(weights.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(weights.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


def test_draws_are_the_batch_s_and_the_purpose_s() -> None:
    def drawn(seed: int = 1, purpose: str = "mixing") -> tuple[float, list[int]]:
        mixing = Mixing([Share(seed, 9)], 1.0, purpose=purpose)
        return float(mixing.weight), mixing.partners([torch.arange(9)]).tolist()

    assert drawn() == drawn()
    for other in (drawn(seed=2), drawn(purpose="second view")):
        assert other[0] != drawn()[0]
        assert other[1] != drawn()[1]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("each", [False, True])
def test_ranks_mix_what_one_process_mixes(
    world: int, each: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = parts()
    one = Mixing(shares(), 1.0, each=each)(rows)

    def exchanged(mine: Tensor, *_: Any) -> Tensor:
        return next(part for part in rows if torch.equal(part[rank::world], mine))

    monkeypatch.setattr(batches, "exchange_rows", exchanged)
    for rank in range(world):
        of_rank = shares(rank, world)
        mine = [share.take(part) for share, part in zip(of_rank, rows, strict=True)]
        found = Mixing(of_rank, 1.0, each=each)(mine)
        expected = [s.take(part) for s, part in zip(of_rank, torch.split(one, SIZES), strict=True)]
        assert torch.equal(found, torch.cat(expected))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_partners_may_be_drawn_among_some_alone(world: int) -> None:
    """On any number of ranks; who is not among them stays as it is."""
    size, generator = 11, torch.Generator().manual_seed(0)
    rows = torch.rand(size, 3, generator=generator, dtype=torch.float64)
    for seed, chosen in enumerate([[1, 4, 5, 9], [7], [], [*range(size)]]):
        among = torch.zeros(size, dtype=torch.bool)
        among[chosen] = True
        whole = Mixing([Share(seed, size)], 1.0, among=among)
        partners = whole.partners([torch.arange(size)])
        assert partners[chosen].sort().values.tolist() == chosen
        assert torch.equal(partners[~among], torch.arange(size)[~among])
        torch.testing.assert_close(whole([rows])[~among], rows[~among])
        for rank in range(world):
            share = Share(seed, size, rank, world)
            mixing = Mixing([share], 1.0, among=among)
            assert torch.equal(mixing._partners, share.take(partners))


def test_partners_among_some_are_drawn_evenly() -> None:
    among = torch.tensor([True, False, True, True])
    found = [Mixing([Share(s, 4)], 1.0, among=among)._partners.tolist() for s in range(600)]
    for one in (0, 2, 3):
        for other in (0, 2, 3):
            assert sum(row[one] == other for row in found) == pytest.approx(200, abs=45)
