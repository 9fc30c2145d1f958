"""Active bias: weights of mean 1, Welford's counts against lists, and training as a plain loop."""

from copy import deepcopy
from functools import partial
from math import sqrt
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from toy import FewDigits, TinyNet, fit, make_data, make_setting, same_state, state, train_batches

from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import ActiveBias
from pmnar.methods.active_bias import of_mean_one, remembered, uncertainty

DOUBLE = partial(TinyNet, dtype=torch.float64)
WAYS = ("variance", "closeness")


def plain_uncertainty(history: list[float], by: str) -> float:
    """The paper's formulas of a list."""
    if not history:
        return 0.0
    mean = sum(history) / len(history)
    if by == "closeness":
        return mean * (1 - mean)
    variance = sum((p - mean) ** 2 for p in history) / len(history)
    return sqrt(variance + variance**2 / max(len(history) - 1, 1))


def test_counts_equal_lists() -> None:
    values = torch.rand(30, 4, dtype=torch.float64)
    rows = torch.zeros(4, 3, dtype=torch.float64)
    lists: list[list[float]] = [[] for _ in range(4)]
    for drawn in values:
        rows = remembered(rows, drawn)
        for history, value in zip(lists, drawn.tolist(), strict=True):
            history.append(value)
        for by in WAYS:
            expected = [plain_uncertainty(history, by) for history in lists]
            assert uncertainty(rows, by).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("by", WAYS)
def test_a_sample_without_a_history_and_one_that_never_changes(by: str) -> None:
    rows = torch.zeros(2, 3, dtype=torch.float64)
    assert uncertainty(rows, by).tolist() == [0, 0]
    for _ in range(5):
        rows = remembered(rows, torch.tensor([0.0, 1.0]))
    assert uncertainty(rows, by).tolist() == [0, 0]


def test_weights_are_of_mean_one() -> None:
    weights = torch.rand(20, dtype=torch.float64)
    assert float(of_mean_one(weights).mean()) == pytest.approx(1)
    torch.testing.assert_close(of_mean_one(3 * weights), of_mean_one(weights))
    assert torch.equal(of_mean_one(torch.full((4,), 0.3)), torch.ones(4)), "equal histories"
    assert torch.equal(of_mean_one(torch.zeros(4)), torch.ones(4))


@pytest.mark.parametrize("more", [{"warmup_epochs": 2}, {"warmup_epochs": 0, "smoothing": 1e9}])
def test_where_all_weigh_the_same_it_is_cross_entropy(more: dict[str, Any]) -> None:
    found = []
    for name, settings in (("active_bias", more), ("ce", {})):
        data = make_data()
        method = build(name, data, **settings)
        fit(method, data, epochs=2)
        found.append(state(method.networks))
    if more["warmup_epochs"]:
        assert same_state(*found)
    for key, values in found[1].items():
        torch.testing.assert_close(found[0][key], values, rtol=1e-4, atol=1e-5)


class Reference:
    """With a list of probabilities for each sample."""

    def __init__(self, data: NoisyDataModule, network: nn.Module, **settings: Any) -> None:
        self.data, self.network, self.settings = data, network, settings
        self.histories: list[list[float]] = [[] for _ in data.splits["train"].labels]
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
        )

    def train(self, epochs: int, warmup: int) -> None:
        by, smoothing = self.settings["by"], self.settings["smoothing"]
        for epoch in range(epochs):
            added = smoothing
            if smoothing == "mean":
                each = [plain_uncertainty(history, by) for history in self.histories]
                added = sum(each) / len(each)
            for batch in train_batches(self.data, epoch):
                samples = batch.indices.tolist()
                weights = [plain_uncertainty(self.histories[i], by) + added for i in samples]
                mean = sum(weights) / len(weights)
                self.step(
                    batch.views[0],
                    batch.labels.tolist(),
                    samples,
                    [w / mean if epoch >= warmup and mean else 1.0 for w in weights],
                )
            if epoch == 1:
                self.optimizer.param_groups[0]["lr"] /= 10

    def step(
        self, images: Tensor, labels: list[int], samples: list[int], weights: list[float]
    ) -> None:
        p = self.network(images).softmax(-1)
        losses = []
        for row, (y, i, w) in enumerate(zip(labels, samples, weights, strict=True)):
            losses.append(-w * p[row, y].log())
            self.histories[i].append(float(p[row, y].detach()))
        self.optimizer.zero_grad()
        torch.autograd.backward(torch.stack(losses).mean())
        self.optimizer.step()


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("smoothing", ["mean", 0.2])
def test_three_epochs_equal_the_plain_loop(by: str, smoothing: float | str) -> None:
    data = make_data(source=FewDigits(50))
    method = build("active_bias", data, DOUBLE, by=by, smoothing=smoothing)
    assert isinstance(method, ActiveBias)
    reference = Reference(data, deepcopy(method.networks["first"]), by=by, smoothing=smoothing)
    fit(method, data, epochs=3)
    reference.train(epochs=3, warmup=1)
    close = partial(torch.testing.assert_close, rtol=1e-8, atol=1e-9)
    close(dict(method.networks["first"].state_dict()), dict(reference.network.state_dict()))
    scores = method.scores()
    for i, history in enumerate(reference.histories):
        assert int(method.history[i, 0]) == len(history)
        mean = sum(history) / len(history)
        assert float(scores["remembered"][i]) == pytest.approx(mean, rel=1e-5)
        spread = sqrt(sum((p - mean) ** 2 for p in history) / len(history))
        assert float(scores["spread"][i]) == pytest.approx(spread, abs=1e-6)
    assert method.weights is not None
    assert float(method.weights.mean()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for active bias, got 2"),
        ({"by": "loss"}, "method.by must be variance or closeness, got loss"),
        ({"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
        ({"smoothing": -0.1}, "method.smoothing must be at least 0 or mean, got -0.1"),
        ({"smoothing": "much"}, "method.smoothing must be at least 0 or mean, got much"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ActiveBias(make_setting(make_data(("weak",))), **settings)
