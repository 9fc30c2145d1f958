"""The switches of PMNAR, from measurements made up for them."""

import warnings
from typing import Any

import pytest
import torch
from toy import ABLATIONS, SIZE, TinyNet, make_data, make_method, measured, prepared, sets

from pmnar.errors import InputError
from pmnar.methods.measurement import Measurement
from pmnar.samples.reweighting import adaptive_weights, balance_classes, class_mean

TWO = ABLATIONS["pmnar"]


@pytest.mark.parametrize(
    ("discard_by", "names"),
    [("first", ["first"]), ("both", ["first", "second"]), ("ensemble", ["ensemble"])],
)
def test_whose_prediction_leaves_the_store(discard_by: str, names: list[str]) -> None:
    measurement = measured()
    method = prepared(measurement, discard_by=discard_by)
    expected = torch.arange(10) != method.labels[:, None]
    for name in names:
        expected[torch.arange(SIZE), measurement.prediction[name]] = False
    assert torch.equal(sets(method), expected)


@pytest.mark.parametrize("discard_by", ["first", "both", "ensemble"])
def test_one_network_discards_by_itself(discard_by: str) -> None:
    rows = {k: v for k, v in measured().rows.items() if k.endswith(" first")}
    measurement = Measurement.of(rows)
    method = prepared(measurement, networks=1, beta=0.0, discard_by=discard_by)
    expected = torch.arange(10) != method.labels[:, None]
    expected[torch.arange(SIZE), measurement.prediction["first"]] = False
    assert torch.equal(sets(method), expected)


def test_weight_balance_gives_every_class_the_same_mean() -> None:
    measurement = measured()
    method = prepared(measurement, weight_balance="class")
    for position, other in enumerate(("second", "first")):
        weights = adaptive_weights(measurement.confidence[other])
        expected = balance_classes(weights, method.labels, 10)
        assert torch.equal(method.sample_weights[position], expected)
        means = class_mean(method.sample_weights[position], method.labels, 10)
        torch.testing.assert_close(means, weights.mean().expand(10))


def test_a_quantile_replaces_the_minimum() -> None:
    measurement = measured()
    method = prepared(measurement, minimum=0.2)
    expected = adaptive_weights(measurement.confidence["second"], 0.2)
    assert torch.equal(method.sample_weights[0], expected)
    lowest = measurement.confidence["first"].sort().values[int(0.2 * (SIZE - 1))]
    assert method.record["min_confidence_first"] == float(lowest)


def test_the_record_holds_mean_weights_and_the_store_s_size() -> None:
    method = prepared(measured())
    record = method.record
    for position, name in enumerate(("first", "second")):
        mean = method.sample_weights[position].double().mean()
        assert record[f"mean_weight_{name}"] == pytest.approx(float(mean))
        assert 0 <= record[f"min_confidence_{name}"] < 0.2
    by_class = class_mean(method.sample_weights[0], method.labels, 10)
    assert torch.equal(method.by_class["weight"], by_class)
    assert record["complementary_size"] == float(sets(method).sum(1).double().mean())


def test_starvation_is_warned_of_once_and_names_the_classes() -> None:
    method = make_method(make_data(), **TWO)
    measurement = measured()
    starved = (method.labels == 3) | (method.labels == 8)
    measurement.confidence["second"] = torch.where(starved, 0.01, 0.9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in (2, 3, 4):
            method.measurement = measurement
            method.prepare_epoch(epoch)
    told = [str(w.message) for w in caught if "starving" in str(w.message)]
    assert len(told) == 1
    assert "fell below a tenth of the overall mean for: 3, 8." in told[0]


@pytest.mark.filterwarnings("error:.*starving.*")
def test_nothing_is_warned_of_where_classes_are_balanced() -> None:
    method = make_method(make_data(), weight_balance="class", **TWO)
    measurement = measured()
    measurement.confidence["second"] = torch.where(method.labels == 3, 0.01, 0.9)
    method.measurement = measurement
    method.prepare_epoch(2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mse"}, r"method\.loss must be one of ce, nl, ml, pm, got mse"),
        ({"weight_balance": "all"}, r"method\.weight_balance must be one of none, class, got all"),
        ({"discard_by": "none"}, r"method\.discard_by must be one of first, .*, got none"),
        ({"beta": -0.5}, r"method\.beta must be at least 0, got -0\.5"),
        ({"warmup_epochs": -1}, r"method\.warmup_epochs must be at least 0, got -1"),
        ({"minimum": 1.0}, r"method\.minimum must be global or a quantile in \[0, 1\), got 1\.0"),
        ({"minimum": "least"}, r"method\.minimum must be .*, got least"),
    ],
)
def test_bad_arguments_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_method(make_data(), TinyNet, **{**TWO, **settings})
