"""Losses against plain loops, their limits, and METHOD.md's identities."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pmnar import losses

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "ce": lambda z, y, s, t: losses.cross_entropy(z, y),
    "mae": lambda z, y, s, t: losses.mean_absolute_error(z, y),
    "nl": lambda z, y, s, t: losses.negative(z, (y + 1) % z.shape[-1]),
    "ml": lambda z, y, s, t: losses.multi_negative(z, s),
    "pm": lambda z, y, s, t: losses.positive_and_multi_negative(z, y, s),
    "consistency": lambda z, y, s, t: losses.consistency(z, t),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def example(
    size: int = 12, classes: int = 5, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits in float64, labels, sets without them, and a target with exact zeros."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (size,), generator=generator)
    sets = torch.rand(size, classes, generator=generator) < 0.6
    sets[torch.arange(size), labels] = False
    target = torch.randn(size, classes, generator=generator, dtype=torch.float64).softmax(-1)
    target[::3] = torch.eye(classes, dtype=torch.float64)[labels[::3]]
    return logits, labels, sets, target


def full_sets(labels: Tensor, classes: int) -> Tensor:
    return torch.arange(classes) != labels[:, None]


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), logits)[0]


def by_hand(name: str, z: list[float], y: int, s: list[bool], t: list[float]) -> float:
    """One sample's loss, from its definition."""
    total = sum(math.exp(v) for v in z)
    p = [math.exp(v) / total for v in z]
    classes = range(len(p))
    negatives = -sum(math.log(1 - p[k]) for k in classes if s[k])
    if name == "ce":
        return -math.log(p[y])
    if name == "mae":
        return sum(abs((k == y) - p[k]) for k in classes)
    if name == "nl":
        return -math.log(1 - p[(y + 1) % len(p)])
    if name == "ml":
        return negatives
    if name == "pm":
        return -math.log(p[y]) + negatives
    return sum(t[k] * (math.log(t[k]) - math.log(p[k])) for k in classes if t[k] > 0)


@each_loss
@pytest.mark.parametrize("classes", [2, 5, 10])
def test_a_loss_is_its_definition_in_a_plain_loop(name: str, classes: int) -> None:
    z, y, s, t = example(classes=classes)
    found = LOSSES[name](z, y, s, t)
    rows = zip(z.tolist(), y.tolist(), s.tolist(), t.tolist(), strict=True)
    expected = torch.tensor([by_hand(name, *row) for row in rows], dtype=torch.float64)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@each_loss
def test_gradients_are_the_finite_differences(name: str) -> None:
    z, y, s, t = example(size=4)
    assert torch.autograd.gradcheck(
        lambda logits: LOSSES[name](logits, y, s, t), (z.requires_grad_(),)
    )


def test_the_gradient_of_log_one_minus_softmax_is_the_finite_difference() -> None:
    z = example(size=4)[0].requires_grad_()
    assert torch.autograd.gradcheck(losses.log_one_minus_softmax, (z,))


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_to_float32_first(name: str, dtype: torch.dtype) -> None:
    z, y, s, t = example()
    found = LOSSES[name](z.to(dtype), y, s, t.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, LOSSES[name](z.to(dtype).float(), y, s, t.float()))


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_losses_and_gradients_are_finite_at_extreme_logits(
    name: str, dtype: torch.dtype, size: float
) -> None:
    """Every sign pattern of four classes: from 1e2 on, some p are exactly 0 or 1."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 4)
    z = (signs * size).to(dtype).requires_grad_()
    for label in range(4):
        y = torch.full((len(z),), label)
        target = torch.eye(4)[(y + 1) % 4]
        loss = LOSSES[name](z, y, full_sets(y, 4), target)
        assert loss.isfinite().all()
        assert gradient(loss, z).isfinite().all()


def test_the_extreme_logits_do_give_probabilities_of_exactly_0_and_1() -> None:
    p = torch.tensor([[1e4, -1e4, 0.0]]).softmax(-1)
    assert p.tolist() == [[1.0, 0.0, 0.0]]


def test_a_sure_wrong_prediction_is_still_pushed_back() -> None:
    """Where 1 − p rounds to 0 a floored logarithm would be flat."""
    z = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = losses.negative(z, torch.tensor([0]))
    torch.testing.assert_close(loss, torch.tensor([200 - math.log(2)]))
    torch.testing.assert_close(gradient(loss, z), torch.tensor([[1.0, -0.5, -0.5]]))


def test_float32_keeps_its_digits_at_every_confidence() -> None:
    z = example(size=2000, classes=10)[0] * 8
    exact = losses.log_one_minus_softmax(z.float().double())
    found = losses.log_one_minus_softmax(z.float()).double()
    # Probabilities below float32's least are 0: compare to an absolute 1e-37 there.
    torch.testing.assert_close(found, exact, rtol=2e-5, atol=1e-37)


def test_mae_lies_between_0_and_2() -> None:
    z, y, _, _ = example()
    loss = losses.mean_absolute_error(100 * z, y)
    assert loss.min() >= 0
    assert loss.max() <= 2


def test_consistency_is_zero_where_prediction_and_target_agree() -> None:
    z = example()[0]
    loss = losses.consistency(z, z.softmax(-1))
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-14)


# -- METHOD.md, "What must hold exactly" ----------------------------------------------------------


def test_weighted_by_its_confidence_pm_with_an_empty_set_has_the_gradient_of_mae() -> None:
    """w = p_y detached, S empty: the gradient of w · PM is that of 1 − p_y."""
    z, y, s, _ = example()
    z.requires_grad_()
    confidence = z.softmax(-1).gather(-1, y[:, None]).squeeze(-1)
    pm = losses.positive_and_multi_negative(z, y, torch.zeros_like(s))
    torch.testing.assert_close(
        gradient(confidence.detach() * pm, z), gradient(1 - confidence, z), rtol=1e-12, atol=1e-15
    )


def test_two_classes_and_a_full_set_make_pm_twice_ce() -> None:
    z, y, _, _ = example(classes=2)
    pm = losses.positive_and_multi_negative(z, y, full_sets(y, 2))
    torch.testing.assert_close(pm, 2 * losses.cross_entropy(z, y), rtol=1e-12, atol=0)


def test_an_empty_set_makes_pm_plain_ce() -> None:
    z, y, s, _ = example()
    z.requires_grad_()
    pm = losses.positive_and_multi_negative(z, y, torch.zeros_like(s))
    ce = losses.cross_entropy(z, y)
    assert torch.equal(pm, ce)
    assert torch.equal(gradient(pm, z), gradient(ce, z))


def test_an_empty_set_makes_ml_zero_with_no_gradient() -> None:
    z, _, s, _ = example()
    z.requires_grad_()
    loss = losses.multi_negative(z, torch.zeros_like(s))
    assert not loss.any()
    assert not gradient(loss, z).any()


def test_a_set_of_one_makes_ml_the_single_negative_loss() -> None:
    z, y, _, _ = example()
    other = (y + 1) % 5
    loss = losses.multi_negative(z, torch.arange(5) == other[:, None])
    assert torch.equal(loss, losses.negative(z, other))


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_gradient_norms_at_uniform_probability(classes: int) -> None:
    """At p = 1/K, CE's gradient is p − e_y: of norm √(1 − 1/K).

    A term −log(1 − p_j) has p_j / (1 − p_j) · (e_j − p) = (e_j − 1/K) / (K − 1). Summed over all
    j ≠ y this is ((1 − e_y) − (K − 1)/K) / (K − 1) = (1/K − e_y) / (K − 1), of norm
    √(1 − 1/K) / (K − 1) = 1 / √(K (K − 1)): about 1/K.
    """
    z = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
    y = torch.zeros(1, dtype=torch.int64)
    ce = gradient(losses.cross_entropy(z, y), z).norm().item()
    ml = gradient(losses.multi_negative(z, full_sets(y, classes)), z).norm().item()
    assert ce == pytest.approx(math.sqrt(1 - 1 / classes), rel=1e-12)
    assert ml == pytest.approx(1 / math.sqrt(classes * (classes - 1)), rel=1e-12)


def test_ten_classes_give_ce_ten_times_the_gradient_of_ml() -> None:
    z = torch.zeros(1, 10, requires_grad=True)
    y = torch.tensor([4])
    ce = gradient(losses.cross_entropy(z, y), z).norm().item()
    ml = gradient(losses.multi_negative(z, full_sets(y, 10)), z).norm().item()
    assert ce == pytest.approx(0.95, abs=0.002)
    assert ml == pytest.approx(0.1, abs=0.006)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_a_target_that_is_not_detached_gets_a_finite_gradient(scale: float) -> None:
    """`detach_target=False`: also where a class of the target has a probability of exactly 0."""
    source = (torch.tensor([[1.0, -1.0, 0.0]]) * scale).requires_grad_()
    logits = torch.tensor([[0.0, 1.0, 2.0]], requires_grad=True)
    loss = losses.consistency(logits, source.softmax(-1))
    assert gradient(loss, source).isfinite().all()
