"""Votes of neighbours in plain loops."""

import math

import pytest
import torch

from pmnar.samples import neighbours
from pmnar.samples.neighbours import balanced_votes, neighbours_asked, votes


@pytest.mark.parametrize("block", [1, 2**24])
def test_votes_are_a_plain_loop_s(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, generator=generator)
    labels = torch.randint(4, (30,), generator=generator)
    rows, given = features.double().tolist(), labels.tolist()

    def cosine(a: list[float], b: list[float]) -> float:
        inner = sum(x * y for x, y in zip(a, b, strict=True))
        return inner / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    found = balanced_votes(features, labels, 4, 7)
    for i, row in enumerate(rows):
        nearest = sorted(range(30), key=lambda j: -cosine(row, rows[j]))[:7]
        assert i in nearest
        shares = [sum(given[j] == k for j in nearest) / given.count(k) for k in range(4)]
        expected = [share / sum(shares) for share in shares]
        assert found[i].tolist() == pytest.approx(expected, abs=1e-6)


def test_all_neighbours_together_say_nothing() -> None:
    """Each class's votes count by how few samples it has."""
    labels = torch.tensor([0] * 9 + [1])
    assert torch.equal(balanced_votes(torch.randn(10, 3), labels, 2, 10), torch.full((10, 2), 0.5))


def test_a_sample_that_asks_itself_alone_has_its_way() -> None:
    labels = torch.tensor([2, 0, 0])
    expected = torch.nn.functional.one_hot(labels, 3).float()
    assert torch.equal(balanced_votes(torch.randn(3, 3), labels, 3, 1), expected)


@pytest.mark.parametrize("block", [1, 2**24])
def test_votes_may_be_weighted(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    labels, asked = torch.tensor([2, 0, 0]), torch.tensor([[0, 1], [1, 2]])
    weights = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    expected = torch.tensor([[0.75, 0, 0.25], [1, 0, 0]])
    assert torch.equal(votes(labels, asked, 3, weights), expected)
    assert torch.equal(votes(labels, asked, 3), torch.tensor([[0.5, 0, 0.5], [1, 0, 0]]))


def test_how_many_are_asked() -> None:
    assert [neighbours_asked(n) for n in (4, 60, 2500, 50_000)] == [4, 10, 10, 200]
