"""Noise adaptation: identities of the layer, and the three models as a plain loop."""

from copy import deepcopy
from functools import partial
from math import log
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from toy import FewDigits, TinyNet, fit, make_data, make_setting, same_state, state, train_batches

from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import NoiseAdaptation
from pmnar.networks import NoiseLayer

DOUBLE = partial(TinyNet, dtype=torch.float64)
MODELS = ("linear", "simple", "complex")


def made(data: NoisyDataModule, model: str, **settings: Any) -> NoiseAdaptation:
    method = build("noise_adaptation", data, DOUBLE, model=model, **settings)
    assert isinstance(method, NoiseAdaptation)
    return method


def some_layer(of_features: bool = False) -> NoiseLayer:
    generator = torch.Generator().manual_seed(0)
    layer = NoiseLayer(DOUBLE(), torch.randn(10, 10, generator=generator), of_features)
    if layer.by_feature is not None:
        layer.by_feature.data.normal_(generator=generator)
    layer.active.fill_(True)
    return layer


# -- the layer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_features", [False, True])
def test_rows_are_distributions_and_so_are_predictions_of_given_labels(of_features: bool) -> None:
    layer, x = some_layer(of_features).train(), torch.rand(5, 1, 8, 8)
    features = layer.features(x)
    matrix = layer.matrix(features)
    torch.testing.assert_close(matrix.sum(-1), torch.ones_like(matrix[..., 0]))
    p = layer.head(features).softmax(-1)
    found = layer(x).exp()
    for row in range(5):
        mine = matrix[row] if of_features else matrix
        expected = [sum(p[row, i] * mine[i, j] for i in range(10)) for j in range(10)]
        torch.testing.assert_close(found[row], torch.stack(expected))


def test_a_sure_diagonal_is_the_network_alone() -> None:
    layer, x = NoiseLayer(DOUBLE(), 800 * torch.eye(10)), torch.rand(5, 1, 8, 8)
    layer.active.fill_(True)
    torch.testing.assert_close(layer(x), layer.network(x).log_softmax(-1))


def test_testing_and_the_warm_up_are_without_it() -> None:
    layer, x = some_layer(), torch.rand(5, 1, 8, 8)
    assert not torch.equal(layer(x), layer.network(x))
    layer.eval()
    assert torch.equal(layer(x), layer.network(x))
    layer.train().active.fill_(False)
    assert torch.equal(layer(x), layer.network(x))


def test_features_that_mean_nothing_make_the_simple_model() -> None:
    simple, of_features = some_layer(), some_layer(True)
    of_features.network = simple.network
    assert of_features.by_feature is not None
    of_features.by_feature.data.zero_()
    x = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(of_features(x), simple(x))


@pytest.mark.parametrize("size", [1.0, 1e37])
def test_it_is_finite_for_sure_predictions_and_matrices(size: float) -> None:
    layer = NoiseLayer(TinyNet(), 1e4 * torch.eye(10))
    z = (size * torch.eye(10)).requires_grad_()
    found = layer.given(z)
    assert found.isfinite().all()
    gradients = torch.autograd.grad(found.sum(), [z, layer.change])
    assert all(each.isfinite().all() for each in gradients)


# -- the method -----------------------------------------------------------------------------------


def test_until_the_warm_up_ends_it_is_cross_entropy() -> None:
    states = []
    settings: dict[str, dict[str, Any]] = {"noise_adaptation": {"warmup_epochs": 3}, "ce": {}}
    for name, more in settings.items():
        data = make_data()
        method = build(name, data, **more)
        fit(method, data, epochs=2)
        network = method.networks["first"]
        states.append(state(network.network if isinstance(network, NoiseLayer) else network))
        if isinstance(network, NoiseLayer):
            assert not network.change.any()
            assert method.scores() == {}
            assert method.matrices() == {}
    assert same_state(*states)


class Reference:
    """The three models in float64, sample by sample."""

    def __init__(self, data: NoisyDataModule, network: nn.Module, model: str, trace: float) -> None:
        self.data, self.network, self.model, self.trace = data, network, model, trace
        identity = torch.eye(10, dtype=torch.float64)
        wrong = identity * log(0.54) + (1 - identity) * log(0.46 / 9)
        self.start = 5 * identity if model == "linear" else wrong
        self.change = torch.zeros(10, 10, dtype=torch.float64, requires_grad=True)
        self.by_feature = torch.zeros(10, 10, 8, dtype=torch.float64, requires_grad=True)
        parameters = [*network.parameters(), self.change, self.by_feature]
        self.optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=5e-4)

    def matrix(self, features: Tensor) -> Tensor:
        rows = []
        for i in range(10):
            values = [
                self.start[i, j]
                + self.change[i, j]
                + (self.by_feature[i, j] @ features if self.model == "complex" else 0)
                for j in range(10)
            ]
            rows.append(torch.stack(values).softmax(-1))
        return torch.stack(rows)

    def begin(self) -> None:
        """What the network says of the images as they are, summed by given label."""
        batches = list(self.data.ordered_batches(torch.device("cpu")))
        counts = [[0.0] * 10 for _ in range(10)]
        self.network.eval()
        for batch in batches:
            with torch.no_grad():
                p = self.network(batch.views[0]).float().softmax(-1).tolist()
            for row, label in zip(p, batch.labels.tolist(), strict=True):
                for i in range(10):
                    counts[i][label] += row[i]
        self.network.train()
        self.start = torch.tensor(
            [[log(value / sum(row) + 1e-8) for value in row] for row in counts],
            dtype=torch.float64,
        )

    def train(self, epochs: int, warmup: int) -> None:
        for epoch in range(epochs):
            if epoch == warmup and warmup and self.model != "linear":
                self.begin()
            for batch in train_batches(self.data, epoch):
                self.step(batch.views[0], batch.labels.tolist(), epoch >= warmup)
            if epoch == 1:
                self.optimizer.param_groups[0]["lr"] /= 10

    def step(self, images: Tensor, labels: list[int], works: bool) -> None:
        assert isinstance(self.network, TinyNet)
        features = self.network.features(images)
        losses = []
        for row, z, y in zip(features, self.network.head(features), labels, strict=True):
            p = z.softmax(-1)
            losses.append(-(p @ self.matrix(row)[:, y] if works else p[y]).log())
        loss = torch.stack(losses).mean()
        if self.model == "linear" and works:
            matrix = self.matrix(features[0])
            loss = loss + self.trace * sum(matrix[k, k] for k in range(10)) / 10
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("warmup", [1, 0])
def test_epochs_equal_the_plain_loop(model: str, warmup: int) -> None:
    data = make_data(source=FewDigits(30))
    method = made(data, model, warmup_epochs=warmup, trace=0.5)
    reference = Reference(data, deepcopy(method.layer.network), model, 0.5)
    fit(method, data, epochs=2)
    reference.train(epochs=2, warmup=warmup)
    close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-7)
    close(dict(method.layer.network.state_dict()), dict(reference.network.state_dict()))
    close(method.layer.start.double(), reference.start, rtol=1e-5, atol=1e-5)
    close(method.layer.change.data, reference.change.data)
    if method.layer.by_feature is not None:
        close(method.layer.by_feature.data, reference.by_feature.data)


@pytest.mark.parametrize("model", MODELS)
def test_its_opinion_of_each_label_is_a_posterior(model: str) -> None:
    data = make_data(source=FewDigits(30))
    method = made(data, model)
    fit(method, data, epochs=2)
    layer = method.layer.eval()
    found = method.scores()["right"]
    images = torch.cat([b.views[0] for b in data.ordered_batches(torch.device("cpu"))])
    with torch.no_grad():
        features = layer.features(images)
        p = layer.head(features).softmax(-1)
        for i, y in enumerate(method.labels.tolist()):
            matrix = layer.matrix(features[i : i + 1]).reshape(10, 10)
            expected = p[i, y] * matrix[y, y] / (p[i] @ matrix[:, y])
            assert float(found[i]) == pytest.approx(float(expected), rel=1e-4)
    assert list(method.matrices()) == ([] if model == "complex" else ["transition"])


def test_a_class_that_is_never_predicted_begins_with_a_matrix_all_the_same() -> None:
    class Sure(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) - 1e4 * nn.functional.one_hot(torch.tensor(3), 10)

    data = make_data()
    method = build("noise_adaptation", data, Sure)
    fit(method, data, epochs=2)
    matrix = method.matrices()["transition"]
    torch.testing.assert_close(matrix.sum(-1), torch.ones(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for noise adaptation, got 2"),
        ({"model": "s"}, "method.model must be one of linear, simple, complex, got s"),
        ({"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
        ({"trace": -0.1}, "method.trace must be at least 0, got -0.1"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NoiseAdaptation(make_setting(make_data(("weak",))), **settings)


def test_a_network_that_tells_no_features_has_no_complex_model() -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    setting = make_setting(make_data(("weak",)), network)
    with pytest.raises(InputError, match="has no feature_size"):
        NoiseAdaptation(setting, model="complex")
    NoiseAdaptation(setting, model="simple")
