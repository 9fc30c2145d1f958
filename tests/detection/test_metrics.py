"""Detection metrics against plain counting and scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from pmnar.detection import detection_metrics, f1_curve, per_class
from pmnar.errors import InputError

KNOWN = {"threshold", "estimated_noise_rate", "actual_noise_rate"}
ALL = KNOWN | {"precision", "recall", "f1", "auroc"}


def random_labels(
    seed: int, size: int = 500, num_classes: int = 10
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = torch.randint(num_classes, (size,), generator=generator)
    other = torch.randint(num_classes, (size,), generator=generator)
    given = torch.where(torch.rand(size, generator=generator) < 0.4, other, true)
    confidence = torch.rand(size, generator=generator) * torch.where(given == true, 1.0, 0.7)
    return confidence, given, true


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.1, 0.29, 0.5, 1.0])
def test_precision_times_called_is_recall_times_mislabelled(seed: int, threshold: float) -> None:
    """The identity of the paper's Table 4."""
    confidence, given, true = random_labels(seed)
    found = detection_metrics(confidence, given, true, threshold)
    assert found.keys() == ALL
    called, actual = found["estimated_noise_rate"] * 500, found["actual_noise_rate"] * 500
    assert found["precision"] * called == pytest.approx(found["recall"] * actual, rel=1e-5)


@pytest.mark.parametrize("num_classes", [2, 10])
def test_metrics_are_those_of_plain_counting(num_classes: int) -> None:
    confidence, given, true = random_labels(7, num_classes=num_classes)
    found = detection_metrics(confidence, given, true)
    rows = list(zip(confidence.tolist(), (given != true).tolist(), strict=True))
    called = [wrong for value, wrong in rows if value < 0.5]
    hits, actual = sum(called), sum(wrong for _, wrong in rows)
    assert found["precision"] == pytest.approx(hits / len(called))
    assert found["recall"] == pytest.approx(hits / actual)
    assert found["f1"] == pytest.approx(2 * hits / (len(called) + actual))
    assert found["estimated_noise_rate"] == len(called) / len(rows)
    assert found["actual_noise_rate"] == actual / len(rows)


def test_auroc_is_sklearns_even_for_tiny_confidences() -> None:
    """Taking 1 - confidence as the score would turn these into ties."""
    confidence, given, true = random_labels(3)
    for scores in (confidence, confidence * 1e-12):
        found = detection_metrics(scores, given, true)["auroc"]
        assert found == pytest.approx(roc_auc_score(given == true, scores.double()), abs=1e-6)


def test_without_true_labels_only_the_estimate_is_known() -> None:
    confidence, given, _ = random_labels(0)
    found = detection_metrics(confidence, given, None, 0.3)
    assert found == {
        "threshold": 0.3,
        "estimated_noise_rate": (confidence < 0.3).double().mean().item(),
    }


@pytest.mark.parametrize(
    ("confidence", "wrong", "absent"),
    [
        ([0.9, 0.8, 0.7], [0, 1, 0], {"precision"}),
        ([0.9, 0.2, 0.7], [0, 0, 0], {"recall", "f1", "auroc"}),
        ([0.9, 0.8, 0.7], [0, 0, 0], {"precision", "recall", "f1", "auroc"}),
        ([0.1, 0.8, 0.7], [1, 1, 1], {"auroc"}),
        ([0.9, 0.1, 0.7], [0, 1, 0], set()),
    ],
)
def test_unknown_values_are_absent(
    confidence: list[float], wrong: list[int], absent: set[str]
) -> None:
    given = torch.zeros(3, dtype=torch.int64)
    found = detection_metrics(torch.tensor(confidence), given, torch.tensor(wrong))
    assert found.keys() == ALL - absent
    assert all(math.isfinite(value) for value in found.values())


def test_a_single_called_sample_that_is_wrong_is_perfect() -> None:
    found = detection_metrics(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]), torch.tensor([1, 1]))
    assert [found[name] for name in ("precision", "recall", "f1", "auroc")] == [1, 1, 1, 1]


def test_a_threshold_is_exclusive() -> None:
    found = detection_metrics(torch.tensor([0.5, 0.4]), torch.tensor([0, 0]), None)
    assert found["estimated_noise_rate"] == 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_curve_equals_the_loop_over_thresholds(dtype: torch.dtype) -> None:
    confidence, given, true = random_labels(1)
    confidence = ((confidence * 100).round() / 100).to(dtype)  # many values lie on a threshold
    thresholds, *curves = f1_curve(confidence, given, true)
    assert thresholds.shape == (101,)
    for row, threshold in enumerate(thresholds.tolist()):
        found = detection_metrics(confidence, given, true, threshold)
        for name, curve in zip(("precision", "recall", "f1"), curves, strict=True):
            expected = found.get(name, math.nan)
            assert curve[row].item() == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_curve_is_nan_where_undefined() -> None:
    confidence, given = torch.tensor([0.5, 0.6]), torch.tensor([0, 1])
    _, precision, recall, f1 = f1_curve(confidence, given, given, torch.tensor([0.1, 0.9]))
    assert precision.isnan().tolist() == [True, False]
    assert recall.isnan().all()
    assert f1.isnan().all()


def test_per_class_is_the_loop_over_classes() -> None:
    confidence, given, _ = random_labels(2, num_classes=4)
    weights = confidence * 0.5
    table = per_class(confidence, given, weights, 5)
    assert table.mean_weight is not None
    for label in range(4):
        own = given == label
        assert table.count[label] == own.sum()
        assert table.mean_weight[label].item() == pytest.approx(weights[own].mean().item())
        share = (confidence[own] < 0.5).double().mean().item()
        assert table.called_share[label].item() == pytest.approx(share)
    assert table.count[4] == 0
    assert table.mean_weight[4].isnan()
    assert table.called_share[4].isnan()


def test_per_class_without_weights() -> None:
    table = per_class(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]), None, 2)
    assert table.mean_weight is None
    assert table.called_share.tolist() == [1, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.2, 1.5])
def test_a_confidence_that_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"confidence must be in \[0, 1\]"):
        detection_metrics(torch.tensor([0.5, value]), torch.tensor([0, 1]), None)


def test_a_confidence_rounded_above_one_is_accepted() -> None:
    given = torch.tensor([0, 1])
    found = detection_metrics(torch.tensor([1.0000001, 0.2]), given, torch.tensor([0, 0]))
    assert found["auroc"] == 1


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match=r"detection.threshold must be in \[0, 1\]"):
        detection_metrics(torch.tensor([0.5]), torch.tensor([0]), None, threshold)


@pytest.mark.parametrize(("size", "labels"), [(3, 2), (0, 0)])
def test_lengths_that_do_not_fit_are_refused(size: int, labels: int) -> None:
    with pytest.raises(InputError, match="lengths"):
        detection_metrics(torch.rand(size), torch.zeros(labels, dtype=torch.int64), None)
