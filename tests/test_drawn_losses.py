"""NL of drawn labels, NL+ and PL+: their gradients in closed form, and their sums."""

import pytest
import torch

from pmnar.losses import (
    cross_entropy,
    drawn_negative,
    drawn_negative_plus,
    multi_negative,
    negative,
    positive_plus,
)

K = 6


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in float64 and labels."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(40, K, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(K, (40,), generator=generator)


def test_the_gradient_of_nl_plus() -> None:
    """`p_c (1 − p_c)` on the label's own logit, `−p_c p_i` on the others."""
    z, c = example()
    one = torch.nn.functional.one_hot(c, K)
    [found] = torch.autograd.grad(drawn_negative_plus(z, one).sum(), z)
    p = z.detach().softmax(-1)
    p_c = p.gather(1, c[:, None])
    torch.testing.assert_close(found, torch.where(one.bool(), p_c * (1 - p_c), -p_c * p))


@pytest.mark.parametrize("order", [-1, 0, 3])
def test_the_gradient_of_pl_plus(order: int) -> None:
    """`−(1 − q^(2^(M + 1)))` on the label's logit; with an empty product cross-entropy's."""
    z, y = example()
    loss = positive_plus(z, y, order)
    [found] = torch.autograd.grad(loss.sum(), z)
    q = z.detach().softmax(-1).gather(1, y[:, None])
    expected = -(1 - q ** (2 ** (order + 1)))
    torch.testing.assert_close(found.gather(1, y[:, None]), expected)
    if order == -1:
        assert torch.equal(loss, cross_entropy(z, y))


def test_all_other_labels_once_are_multi_negative_and_one_is_negative() -> None:
    z, y = example()
    others = torch.arange(K) != y[:, None]
    torch.testing.assert_close(drawn_negative(z, others), multi_negative(z, others))
    other = (y + 1) % K
    one = torch.nn.functional.one_hot(other, K)
    torch.testing.assert_close(drawn_negative(z, one), negative(z, other))
    torch.testing.assert_close(drawn_negative(z, 3 * one), 3 * negative(z, other))


@pytest.mark.parametrize("size", [1e2, 1e4, 1e37])
@pytest.mark.parametrize("loss", [drawn_negative, drawn_negative_plus])
def test_they_are_finite_where_the_network_is_sure(loss: object, size: float) -> None:
    z = (size * torch.eye(K)).requires_grad_()
    for counts in (torch.eye(K), 1 - torch.eye(K)):
        found = loss(z, counts)  # type: ignore[operator]
        assert found.isfinite().all()
        assert torch.autograd.grad(found.sum(), z)[0].isfinite().all()
    for label in (torch.arange(K), torch.arange(K).roll(1)):
        found = positive_plus(z, label)
        assert torch.autograd.grad(found.sum(), z)[0].isfinite().all()
