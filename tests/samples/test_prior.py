"""Priors against their equations, in float64 where it is mathematics."""

import pytest
import torch
from torch import Tensor

from pmnar.samples.prior import RunningPrior

LABELS = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
GIVEN = torch.tensor([0.5, 0.3, 0.2])


def prior(target: str, shares: Tensor | None = None) -> RunningPrior:
    found = RunningPrior(LABELS, 3, networks=2, target=target).double()
    if shares is not None:
        found.shares.copy_(shares)
    return found


def probabilities(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    return z, z.softmax(-1)


@pytest.mark.parametrize("target", ["uniform", "given"])
def test_a_network_that_predicts_each_class_as_it_should_is_left_alone(target: str) -> None:
    at_target = prior(target)
    _, p = probabilities()
    for network in (0, 1):
        assert not at_target.shift(network).any()
        torch.testing.assert_close(at_target.debiased(p, network), p, rtol=1e-15, atol=0)


@pytest.mark.parametrize(("target", "wanted"), [("uniform", torch.ones(3) / 3), ("given", GIVEN)])
def test_debiased_is_the_softmax_of_the_shifted_logits(target: str, wanted: Tensor) -> None:
    shares = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)
    found = prior(target, shares)
    z, p = probabilities()
    for network in (0, 1):
        shift = (shares[network] / wanted.double()).log()
        torch.testing.assert_close(found.shift(network), shift, rtol=1e-6, atol=1e-7)
        expected = (z - found.shift(network)).softmax(-1)
        torch.testing.assert_close(found.debiased(p, network), expected, rtol=1e-13, atol=0)


def test_the_average_is_a_plain_loop_s_and_each_network_s_own() -> None:
    found = prior("uniform")
    expected = [1 / 3] * 3
    for step in range(3):
        _, p = probabilities(step)
        found.follow(1, p)
        means = [sum(column) / len(p) for column in p.T.tolist()]
        expected = [0.99 * a + 0.01 * b for a, b in zip(expected, means, strict=True)]
    assert found.shares[1].tolist() == pytest.approx(expected, rel=1e-7)
    torch.testing.assert_close(found.shares[0], torch.ones(3).double() / 3)


def test_what_a_network_predicts_in_the_warm_up_is_what_it_should_from_then_on() -> None:
    found = prior("warmup")
    for step in range(3):
        found.follow(1, probabilities(step)[1])
        assert not found.shift(1).any()
    before = found.shares[1].clone()
    found.freeze()
    found.follow(1, probabilities(3)[1])
    assert not torch.equal(found.shares[1], before)
    torch.testing.assert_close(found.shift(1), (found.shares[1] / before).log(), rtol=1e-6, atol=0)


def test_a_class_that_nobody_is_given_or_predicted_leaves_all_finite() -> None:
    found = RunningPrior(torch.tensor([0, 0, 2]), 3, networks=1, target="given")
    found.shares[0] = torch.tensor([1.0, 0.0, 0.0])
    assert found.shift(0).isfinite().all()
    assert found.debiased(torch.tensor([[0.5, 0.25, 0.25]]), 0).isfinite().all()
