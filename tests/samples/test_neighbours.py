"""Votes of neighbours in plain loops."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pmnar.samples import neighbours
from pmnar.samples.neighbours import agreed, balanced_votes, nearest, neighbours_asked, votes


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


@pytest.mark.parametrize("count", [1, 5, 100])
def test_neighbours_are_others_and_corrected_labels_are_their_votes(count: int) -> None:
    """Asked for labels as corrected, neighbours say what they said where nothing was corrected."""
    generator = torch.Generator().manual_seed(0)
    features = normalize(torch.randn(30, 5, generator=generator), dim=-1)
    found = nearest(features, count)
    assert found.shape == (30, min(count, 29))
    assert not (found == torch.arange(30)[:, None]).any()
    alike = (features.double() @ features.double().T).fill_diagonal_(-2)
    assert torch.equal(found[:, 0], alike.argmax(-1).int())
    together = torch.arange(30) // 6  # groups of six ask one another, and agree
    of_groups = nearest(normalize(torch.eye(5)[together] + 0.1 * features, dim=-1), 5)
    first = votes(together, of_groups, 5)
    assert torch.equal(first.argmax(-1), together)
    assert torch.equal(votes(first.argmax(-1), of_groups, 5), first)
    assert agreed(first, together).all()


@pytest.mark.parametrize("classes", [4, 5, 7])
def test_as_many_of_each_class_are_kept_as_agree_in_the_median_class(classes: int) -> None:
    """Also where a class has one sample or none (those from 5 on)."""
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(min(classes, 4), (40,), generator=generator)
    if classes > 4:
        labels[3] = 4
    shares = torch.rand(40, classes, generator=generator).softmax(-1)
    shares[torch.arange(40), labels] += 0.02 * labels + 0.2 * torch.rand(40, generator=generator)
    shares /= shares.sum(-1, keepdim=True)
    members = {k: [i for i in range(40) if labels[i] == k] for k in sorted(set(labels.tolist()))}
    agree = sorted(
        sum(int(shares[i].argmax()) == k for i in of) for k, of in members.items() if len(of) > 1
    )
    number = agree[(len(agree) - 1) // 2]
    kept: set[int] = set()
    for k, of in members.items():
        kept |= set(sorted(of, key=lambda i: -min(max(float(shares[i, k]), 0.01), 0.99))[:number])
    assert 0 < len(kept) < 40
    assert agreed(shares, labels).nonzero()[:, 0].tolist() == sorted(kept)


def test_labels_that_nobody_else_has_do_not_lower_the_number() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    shares = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [1.0, 0.0]])
    assert agreed(shares, labels).tolist() == [True, True, False, True]
    assert agreed(torch.eye(4).roll(1, 0), torch.arange(4)).all()


def test_how_many_are_asked() -> None:
    assert [neighbours_asked(n) for n in (4, 60, 2500, 50_000)] == [4, 10, 10, 200]
