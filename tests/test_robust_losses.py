"""Robust losses against plain loops, and the losses that their settings' ends make of them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pmnar import losses
from pmnar.errors import InputError

SETTINGS: dict[str, dict[str, Any]] = {
    "label_smoothing": {"smoothing": 0.1},
    "generalised_cross_entropy": {"q": 0.7},
    "reverse_cross_entropy": {},
    "symmetric_cross_entropy": {"alpha": 0.1, "beta": 1.0},
    "normalised_cross_entropy": {},
    "active_passive": {"alpha": 2.0, "beta": 0.5},
    "active_passive mae": {"alpha": 10.0, "beta": 1.0, "passive": "mae"},
    "partially_huberised": {"tau": 2.0},
    "soft_bootstrap": {"beta": 0.95},
    "hard_bootstrap": {"beta": 0.8},
}
each_loss = pytest.mark.parametrize("name", SETTINGS)


def loss_of(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    return partial(getattr(losses, name.split()[0]), **SETTINGS[name])


def example(size: int = 200, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Logits in float64 and labels."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(size, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (size,), generator=generator)


def by_hand(name: str, z: list[float], y: int) -> float:
    """One sample's loss, from its paper's definition over all classes."""
    total = sum(math.exp(v) for v in z)
    p = [math.exp(v) / total for v in z]
    classes = range(len(p))
    given = [float(k == y) for k in classes]
    ce = -sum(t * math.log(q) for t, q in zip(given, p, strict=True))
    rce = -sum(q * math.log(max(t, 1e-4)) for t, q in zip(given, p, strict=True))
    nce = ce / sum(-math.log(q) for q in p)
    if name == "label_smoothing":
        return -sum((0.9 * t + 0.1 / len(p)) * math.log(q) for t, q in zip(given, p, strict=True))
    if name == "generalised_cross_entropy":
        return (1 - math.pow(p[y], 0.7)) / 0.7
    if name == "partially_huberised":
        return ce if p[y] > 1 / 2 else -2 * p[y] + math.log(2) + 1
    if name == "soft_bootstrap":
        return -sum((0.95 * t + 0.05 * q) * math.log(q) for t, q in zip(given, p, strict=True))
    if name == "hard_bootstrap":
        return 0.8 * ce - 0.2 * math.log(p[z.index(max(z))])
    return {
        "reverse_cross_entropy": rce,
        "symmetric_cross_entropy": 0.1 * ce + rce,
        "normalised_cross_entropy": nce,
        "active_passive": 2 * nce + 0.5 * rce,
        "active_passive mae": 10 * nce + (1 - p[y]),
    }[name]


@each_loss
@pytest.mark.parametrize("classes", [2, 5, 10])
def test_a_loss_is_its_definition_in_a_plain_loop(name: str, classes: int) -> None:
    z, y = example(classes=classes)
    found = loss_of(name)(z, y)
    rows = zip(z.tolist(), y.tolist(), strict=True)
    expected = torch.tensor([by_hand(name, *row) for row in rows], dtype=torch.float64)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@each_loss
def test_gradients_are_the_finite_differences(name: str) -> None:
    z, y = example(size=6)
    assert torch.autograd.gradcheck(lambda logits: loss_of(name)(logits, y), (z.requires_grad_(),))


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_to_float32_first(name: str, dtype: torch.dtype) -> None:
    z, y = example()
    found = loss_of(name)(z.to(dtype), y)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss_of(name)(z.to(dtype).float(), y))


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e2, 1e4, 1e37])
def test_losses_and_gradients_are_finite_at_extreme_logits(
    name: str, dtype: torch.dtype, size: float
) -> None:
    """Every sign pattern of four classes, and sixteen more whose logits are 0."""
    if size > torch.finfo(dtype).max:
        pytest.skip("no such number")
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 4)
    padded = torch.cat([signs, torch.zeros(len(signs), 16)], 1)
    z = (padded * size).to(dtype).requires_grad_()
    for label in (*range(4), 10):
        loss = loss_of(name)(z, torch.full((len(z),), label))
        assert loss.isfinite().all()
        assert torch.autograd.grad(loss.sum(), z)[0].isfinite().all()


# -- limits ---------------------------------------------------------------------------------------


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_gce_lies_between_cross_entropy_and_the_absolute_error() -> None:
    z, y = example()
    same(losses.generalised_cross_entropy(z, y, 1.0), losses.mean_absolute_error(z, y) / 2)
    nearly = losses.generalised_cross_entropy(z, y, 1e-9)
    same(nearly, losses.cross_entropy(z, y), 1e-6)
    assert (losses.generalised_cross_entropy(z, y, 0.7) <= 1 / 0.7).all()


def test_losses_without_their_second_part_are_cross_entropy() -> None:
    z, y = example()
    expected = losses.cross_entropy(z, y)
    same(losses.label_smoothing(z, y, 0.0), expected)
    same(losses.symmetric_cross_entropy(z, y, 1.0, 0.0), expected)
    same(losses.partially_huberised(z, y, 1e300), expected)
    same(losses.soft_bootstrap(z, y, 1.0), expected)
    same(losses.hard_bootstrap(z, y, 1.0), expected)


def test_smoothing_of_1_pulls_to_the_uniform_distribution() -> None:
    z, y = example()
    same(losses.label_smoothing(z, y, 1.0), -z.log_softmax(-1).mean(-1))


def test_normalised_cross_entropy_of_all_labels_is_1() -> None:
    z, _ = example()
    each = [losses.normalised_cross_entropy(z, torch.full((len(z),), k)) for k in range(5)]
    same(torch.stack(each).sum(0), torch.ones(len(z), dtype=torch.float64))


@pytest.mark.parametrize("loss", [losses.mean_absolute_error, losses.reverse_cross_entropy])
def test_passive_losses_of_all_labels_add_up_to_a_constant(loss: Callable[..., Tensor]) -> None:
    """What makes a loss robust to symmetric noise (Ghosh et al., 2017)."""
    z, _ = example()
    total = torch.stack([loss(z, torch.full((len(z),), k)) for k in range(5)]).sum(0)
    same(total, total[:1].expand_as(total))


def test_the_huberised_loss_and_its_slope_are_continuous() -> None:
    tau, ends = 4.0, []
    for p in (1 / tau - 1e-9, 1 / tau + 1e-9):
        z = torch.tensor([[math.log(p / (1 - p)), 0.0]], dtype=torch.float64, requires_grad=True)
        loss = losses.partially_huberised(z, torch.tensor([0]), tau)
        ends.append(torch.stack([loss[0], torch.autograd.grad(loss.sum(), z)[0][0, 0]]))
    same(ends[0], ends[1], 1e-7)


def test_soft_cross_entropy_of_a_sure_target_is_cross_entropy() -> None:
    z, y = example()
    target = torch.nn.functional.one_hot(y, 5)
    same(losses.soft_cross_entropy(z, target), losses.cross_entropy(z, y))


@pytest.mark.parametrize(
    ("name", "key", "value", "allowed"),
    [
        ("label_smoothing", "smoothing", 1.5, r"in \[0, 1\]"),
        ("generalised_cross_entropy", "q", 0, r"in \(0, 1\]"),
        ("generalised_cross_entropy", "q", math.nan, r"in \(0, 1\]"),
        ("reverse_cross_entropy", "floor", 1.0, r"in \(0, 1\)"),
        ("symmetric_cross_entropy", "alpha", -1.0, "at least 0"),
        ("active_passive", "passive", "nce", "one of rce, mae"),
        ("partially_huberised", "tau", 1.0, "over 1"),
        ("soft_bootstrap", "beta", 2.0, r"in \[0, 1\]"),
        ("hard_bootstrap", "beta", -0.1, r"in \[0, 1\]"),
    ],
)
def test_settings_out_of_range_are_told(name: str, key: str, value: Any, allowed: str) -> None:
    z, y = example(size=2)
    with pytest.raises(InputError, match=rf"^method\.{key} must be {allowed}, got {value}$"):
        getattr(losses, name)(z, y, **{**SETTINGS[name], key: value})


def test_a_loss_of_two_parts_has_one() -> None:
    z, y = example(size=2)
    with pytest.raises(InputError, match=r"method\.alpha must be over 0 where method\.beta is 0"):
        losses.symmetric_cross_entropy(z, y, 0.0, 0.0)
