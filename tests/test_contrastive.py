"""Contrastive losses against plain loops over anchors."""

from math import exp, log

import pytest
import torch
from torch.nn.functional import normalize

from pmnar.contrastive import interpolated_supervised, nt_xent


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_each_view_is_told_from_all_others(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = normalize(torch.randn(2, 7, 5, dtype=torch.float64, generator=generator), dim=-1)
    points = [*left.tolist(), *right.tolist()]
    loss = []
    for i, anchor in enumerate(points):
        alike = [sum(a * b for a, b in zip(anchor, p, strict=True)) / temperature for p in points]
        others = sum(exp(each) for j, each in enumerate(alike) if j != i)
        loss.append(log(others) - alike[(i + 7) % 14])
    expected = torch.tensor([(loss[i] + loss[i + 7]) / 2 for i in range(7)], dtype=torch.float64)
    torch.testing.assert_close(nt_xent(left, right, temperature), expected)


def supervised(points: list[list[float]], labels: list[int], temperature: float) -> list[float]:
    """SupCon (Khosla et al., 2020, Eq. 2): the positives' mean outside of the logarithm."""
    found = []
    for i, anchor in enumerate(points):
        alike = [sum(a * b for a, b in zip(anchor, p, strict=True)) / temperature for p in points]
        others = log(sum(exp(each) for j, each in enumerate(alike) if j != i))
        positive = [j for j, label in enumerate(labels) if label == labels[i] and j != i]
        found.append(sum(others - alike[j] for j in positive) / len(positive))
    return found


@pytest.mark.parametrize("places", [0, 5])
def test_unmixed_images_have_the_supervised_contrastive_loss(places: int) -> None:
    """λ = 1 of two views; mixed ones have that of both labels; empty places change nothing."""
    generator = torch.Generator().manual_seed(0)
    rows = normalize(torch.randn(14, 5, dtype=torch.float64, generator=generator), dim=-1)
    labels = (torch.arange(7) % 3).repeat(2)
    others = torch.cat([rows, torch.ones(places, 5)])
    of_others = torch.cat([labels, torch.full((places,), -1)])
    itself = torch.eye(14, 14 + places, dtype=torch.bool)

    def loss(second: torch.Tensor, weight: float) -> torch.Tensor:
        weights, both = torch.full((14,), weight), (labels, second)
        return interpolated_supervised(rows, others, both, of_others, itself, weights, 0.3)

    expected = torch.tensor(supervised(rows.tolist(), labels.tolist(), 0.3), dtype=torch.float64)
    torch.testing.assert_close(loss(labels.flip(0), 1.0), expected)
    torch.testing.assert_close(loss(labels, 0.5), expected)
    nothing = torch.full((14,), 9)  # a label that no other has
    torch.testing.assert_close(loss(nothing, 0.75), 0.75 * expected)


def test_it_is_finite_at_its_bounds_and_in_half_precision() -> None:
    same = torch.ones(4, 1, requires_grad=True)
    for left, right in ((same, same), (same, -same)):
        loss = nt_xent(left, right, 0.01)
        assert loss.isfinite().all()
        assert torch.autograd.grad(loss.sum(), same)[0].isfinite().all()
    torch.testing.assert_close(nt_xent(same, same, 0.1), torch.full((4,), log(7)))
    assert nt_xent(same.bfloat16(), same.bfloat16(), 0.1).dtype == torch.float32


def test_autocast_does_not_halve_what_is_compared() -> None:
    generator = torch.Generator().manual_seed(7)
    left, right = (torch.randn(6, 8, generator=generator) for _ in range(2))
    left, right = left / left.norm(dim=1, keepdim=True), right / right.norm(dim=1, keepdim=True)
    expected = nt_xent(left, right, 0.05)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nt_xent(left, right, 0.05), expected)
