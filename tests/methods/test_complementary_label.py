"""The single complementary label of negative learning."""

import pytest
import torch
from torch import Tensor
from toy import ABLATIONS, BATCH, SIZE, Watched, make_data, make_method, terms_of, train_batches

from pmnar import losses
from pmnar.data import Batch, Share


def complementary_labels(monkeypatch: pytest.MonkeyPatch, method: Watched, batch: Batch) -> Tensor:
    """What the loss `nl` is given for this batch."""
    given: list[Tensor] = []

    def spy(logits: Tensor, complementary_label: Tensor) -> Tensor:
        given.append(complementary_label)
        return logits[:, 0]

    monkeypatch.setattr(losses, "negative", spy)
    terms_of(method, batch)
    return given[0]


def test_the_complementary_label_is_any_other_with_equal_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 9000
    labels = torch.randint(10, (size,), generator=torch.Generator().manual_seed(0))
    method = make_method(make_data(), **ABLATIONS["nl"])
    images = torch.zeros(size, 1, 2, 2)
    batch = Batch(torch.arange(size) % SIZE, (images,), labels, Share(5, size))
    drawn = complementary_labels(monkeypatch, method, batch)
    assert not (drawn == labels).any()
    assert sorted(set(drawn.tolist())) == list(range(10))
    counts = torch.bincount((drawn - labels) % 10, minlength=10)
    assert counts[0] == 0
    assert ((counts[1:] - 1000).abs() < 150).all(), "five standard deviations"


def test_the_complementary_label_is_drawn_anew_each_step_and_the_same_for_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = make_method(make_data(), **ABLATIONS["nl"])
    batch = next(train_batches(make_data()))
    assert batch.share is not None

    def draw(seed: int, rank: int = 0, world: int = 1) -> Tensor:
        share = Share(seed, BATCH, rank, world)
        mine = Batch(
            share.take(batch.indices),
            (share.take(batch.views[0]),),
            share.take(batch.labels),
            share,
        )
        return complementary_labels(monkeypatch, method, mine)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    for rank in range(3):
        assert torch.equal(draw(1, rank, 3), draw(1)[rank::3])
