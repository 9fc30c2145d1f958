"""Votes of neighbours in plain loops."""

import math

import pytest
import torch

from pmnar.samples import neighbours
from pmnar.samples.neighbours import balanced_votes, neighbours_asked


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
    found = balanced_votes(torch.randn(10, 3), labels, 2, 10)
    torch.testing.assert_close(found, torch.full((10, 2), 0.5))


def test_how_many_are_asked() -> None:
    assert [neighbours_asked(n) for n in (4, 60, 2500, 50_000)] == [4, 10, 10, 200]
