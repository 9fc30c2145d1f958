"""Adaptive weights against plain loops."""

import math

import pytest
import torch
from torch import Tensor

from pmnar.errors import InputError
from pmnar.samples.reweighting import (
    STARVED,
    adaptive_weights,
    balance_classes,
    check_minimum,
    class_mean,
    lowest_confidence,
    normalised,
    relative_weights,
    starved_classes,
)


def confidences(size: int = 200, seed: int = 0) -> Tensor:
    """Probabilities of one class out of five, float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size, 5, generator=generator, dtype=torch.float64)
    return logits.softmax(-1)[:, 0]


def given_labels(size: int = 200, classes: int = 4) -> Tensor:
    return torch.randint(classes, (size,), generator=torch.Generator().manual_seed(1))


def test_weights_are_confidences_less_the_smallest_in_a_plain_loop() -> None:
    confidence = confidences()
    values = confidence.tolist()
    expected = [value - min(values) for value in values]
    assert adaptive_weights(confidence).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_smallest_weight_is_0_and_every_weight_is_in_0_to_1(dtype: torch.dtype) -> None:
    for seed in range(20):
        weights = adaptive_weights(confidences(seed=seed).to(dtype))
        assert weights.min() == 0
        assert weights.max() < 1
        assert weights.dtype == dtype


def test_weights_are_detached() -> None:
    confidence = confidences().requires_grad_()
    assert not adaptive_weights(confidence).requires_grad
    assert not adaptive_weights(confidence, 0.1).requires_grad


@pytest.mark.parametrize("quantile", [0, 0.0, 0.01, 0.25, 0.5, 0.999])
@pytest.mark.parametrize("size", [1, 2, 7, 101])
def test_a_quantile_is_an_order_statistic(quantile: float, size: int) -> None:
    confidence = confidences(size)
    ascending = sorted(confidence.tolist())
    lowest = ascending[math.floor(quantile * (size - 1))]
    assert float(lowest_confidence(confidence, quantile)) == lowest
    expected = [max(value - lowest, 0.0) for value in confidence.tolist()]
    assert adaptive_weights(confidence, quantile).tolist() == expected


def test_a_quantile_of_0_is_the_minimum() -> None:
    assert torch.equal(adaptive_weights(confidences(), 0.0), adaptive_weights(confidences()))


def test_one_outlier_rules_the_minimum_but_not_a_quantile() -> None:
    confidence = torch.linspace(0.4, 0.9, 100)
    confidence[37] = 1e-6
    assert lowest_confidence(confidence) == confidence[37]
    assert lowest_confidence(confidence, 0.02) > 0.39


@pytest.mark.parametrize("minimum", ["global", 0, 0.0, 0.5, 0.99])
def test_minimum_may_be(minimum: str | float) -> None:
    check_minimum(minimum)


@pytest.mark.parametrize("minimum", ["local", -0.1, 1, 1.0, float("nan"), "0.1"])
def test_minimum_may_not_be(minimum: str | float) -> None:
    with pytest.raises(InputError, match=rf"method\.minimum .* got {minimum}"):
        check_minimum(minimum)


def distributions(size: int = 50, classes: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(size, classes, generator=generator, dtype=torch.float64).softmax(-1)


def test_relative_weights_are_those_of_a_plain_loop() -> None:
    p, labels = distributions(), given_labels(50)
    rows = zip(p.tolist(), labels.tolist(), strict=True)
    assert relative_weights(p, labels).tolist() == [row[y] / max(row) for row, y in rows]


def test_relative_weights_are_1_before_anything_is_known_and_the_paper_s_in_the_end() -> None:
    labels = given_labels(50)
    assert (relative_weights(torch.full((50, 4), 0.25), labels) == 1).all()
    sure = torch.nn.functional.one_hot(labels.roll(1), 4).double()
    confidence = sure.gather(1, labels[:, None]).squeeze(1)
    assert torch.equal(relative_weights(sure, labels), adaptive_weights(confidence))
    assert relative_weights(torch.zeros(50, 4), labels).isfinite().all()


def test_a_weighted_mean_over_the_weights_sum() -> None:
    weights, values = adaptive_weights(confidences()), confidences(seed=1)
    pairs = list(zip(weights.tolist(), values.tolist(), strict=True))
    expected = math.fsum(w * v for w, v in pairs) / math.fsum(w for w, _ in pairs)
    found = (normalised(weights, weights.mean()) * values).mean()
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert not normalised(torch.zeros(2, 3), torch.zeros(2)).any()


def test_class_means_are_those_of_a_plain_loop() -> None:
    values, labels = confidences(), given_labels()
    for label, mean in enumerate(class_mean(values, labels, 4).tolist()):
        members = [v for v, y in zip(values.tolist(), labels.tolist(), strict=True) if y == label]
        assert mean == pytest.approx(math.fsum(members) / len(members), rel=1e-13)


def test_a_class_without_samples_has_no_mean() -> None:
    means = class_mean(confidences(), given_labels(), 6)
    assert means[:4].isfinite().all()
    assert means[4:].isnan().all()


def test_balanced_weights_have_equal_class_means_and_the_same_overall_mean() -> None:
    labels = given_labels()
    weights = adaptive_weights(confidences()) * torch.tensor([1.0, 0.1, 3.0, 1e-9])[labels]
    balanced = balance_classes(weights, labels, 4)
    overall = weights.mean().expand(4)
    torch.testing.assert_close(class_mean(balanced, labels, 4), overall, rtol=1e-12, atol=0)
    torch.testing.assert_close(balanced.mean(), weights.mean(), rtol=1e-12, atol=0)


def test_balancing_is_a_factor_for_each_class() -> None:
    labels = given_labels()
    weights = adaptive_weights(confidences())
    balanced = balance_classes(weights, labels, 4)
    for label in range(4):
        mine = labels == label
        factor = weights.mean() / weights[mine].mean()
        torch.testing.assert_close(balanced[mine], weights[mine] * factor, rtol=1e-12, atol=0)


def test_balancing_copes_with_an_absent_class_and_one_of_zeros() -> None:
    labels = given_labels()
    weights = adaptive_weights(confidences())
    weights[labels == 2] = 0
    balanced = balance_classes(weights, labels, 9)
    assert balanced.isfinite().all()
    torch.testing.assert_close(
        balanced[labels == 2], weights.mean().expand(int((labels == 2).sum()))
    )
    torch.testing.assert_close(class_mean(balanced, labels, 4), weights.mean().expand(4))


def test_balancing_nothing_but_zeros_gives_zeros() -> None:
    assert not balance_classes(torch.zeros(8), given_labels(8), 4).any()


def test_starved_classes_are_those_under_a_tenth_of_the_mean() -> None:
    means = torch.tensor([0.5, 0.0499, 0.0501, float("nan"), 0.0], dtype=torch.float64)
    assert STARVED == 0.1
    assert starved_classes(means, overall=0.5) == [1, 4]
    assert starved_classes(torch.zeros(3), overall=0.0) == []
