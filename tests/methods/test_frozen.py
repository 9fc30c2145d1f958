"""The linear probe and neighbours' votes, on features that stay as they are."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from torch.nn import functional as F
from toy import NoNorm, TinyNet, fit, make_data, make_setting, state, train_batches

from pmnar.errors import InputError
from pmnar.methods import KNN, LinearProbe, NoisyLabelMethod
from pmnar.methods.linear_probe import Standardised
from pmnar.networks.frozen import FrozenNetwork

DOUBLE = partial(TinyNet, dtype=torch.float64)


def network_of(method: NoisyLabelMethod) -> FrozenNetwork:
    network = method.networks["first"]
    assert isinstance(network, FrozenNetwork)
    return network


def features_of_all(method: NoisyLabelMethod, data: Any) -> Tensor:
    """Of the training set, in eval mode, un-augmented."""
    images = torch.cat([batch.views[0] for batch in data.ordered_batches(torch.device("cpu"))])
    return network_of(method).features(images)


@pytest.mark.parametrize("name", ["linear_probe", "knn"])
def test_the_network_stays_and_has_no_part_in_the_optimiser(name: str) -> None:
    data = make_data()
    method = build(name, data)
    before = state(network_of(method).network)
    fit(method, data, epochs=2)
    network = network_of(method)
    assert all(torch.equal(v, before[k]) for k, v in network.network.state_dict().items())
    assert all(p.grad is None for p in network.network.parameters())
    [group] = method.configure_optimizers()["optimizer"].param_groups
    own = {id(p) for p in network.head.parameters()}
    assert {id(p) for p in group["params"]} == own
    method.train()
    assert network.head.training
    assert not any(module.training for module in network.network.modules())


# -- the linear probe -----------------------------------------------------------------------------


def test_it_is_softmax_regression_on_standardised_features() -> None:
    """Two epochs of it in plain loops, in float64."""
    data = make_data()
    method = build("linear_probe", data, DOUBLE)
    assert isinstance(method, LinearProbe)
    weight, bias = (p.detach().clone() for p in method.head.linear.parameters())
    fit(method, data, epochs=2)

    network, labels = network_of(method), data.splits["train"].labels.tolist()
    rows = features_of_all(method, data).tolist()
    size = len(rows[0])
    mean = [sum(row[f] for row in rows) / len(rows) for f in range(size)]
    spread = [math.sqrt(sum((r[f] - mean[f]) ** 2 for r in rows) / len(rows)) for f in range(size)]
    assert min(spread) > 1e-4 * max(spread)
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for epoch in range(2):
        for batch in train_batches(data, epoch):
            gradient = [torch.zeros_like(weight), torch.zeros_like(bias)]
            for x, i in zip(network.features(batch.views[0]), batch.indices.tolist(), strict=True):
                x = torch.stack([(x[f] - mean[f]) / spread[f] for f in range(size)])
                p = (weight @ x + bias).softmax(0)
                p[labels[i]] -= 1
                gradient[0] += p[:, None] * x / len(batch.indices)
                gradient[1] += p / len(batch.indices)
            for value, moved, change in zip((weight, bias), speed, gradient, strict=True):
                moved.mul_(0.9).add_(change + 5e-4 * value)
                value.sub_(0.1 * moved)
    torch.testing.assert_close(method.head.linear.weight.detach(), weight)
    torch.testing.assert_close(method.head.linear.bias.detach(), bias)
    expected = (method.measure().kept["margin"] > 0) == (
        method.measure().prediction["first"] == method.labels
    )
    assert expected.all(), "a margin over 0 is the likeliest label's"


def test_features_that_hardly_vary_are_left_out() -> None:
    head = Standardised(3, 2, torch.float64)
    features = torch.randn(50, 3, dtype=torch.float64)
    features[:, 1] = 7 + 1e-6 * features[:, 1]
    head.standardise_by(features)
    far = torch.tensor([[0.0, 1e6, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(head(far), head(torch.zeros_like(far)))
    scaled = (features - head.mean) * head.scale
    torch.testing.assert_close(scaled.std(0, correction=0), torch.tensor([1, 0, 1]).double())
    head.standardise_by(torch.ones(50, 3))
    assert torch.equal(head(features), head.linear.bias.expand(50, 2))


# -- neighbours' votes ----------------------------------------------------------------------------


def cosines(features: Tensor) -> list[list[float]]:
    rows = features.double().tolist()
    lengths = [math.sqrt(sum(x * x for x in row)) for row in rows]
    pairs = list(zip(rows, lengths, strict=True))
    return [
        [sum(x * y for x, y in zip(a, b, strict=True)) / m / n for b, n in pairs] for a, m in pairs
    ]


def shares(
    similar: list[float], labels: list[int], asked: list[int], count: int, temperature: float
) -> list[float]:
    """What the nearest of those that are asked say, for ten classes."""
    nearest = sorted(asked, key=lambda j: -similar[j])[:count]
    weights = {j: math.exp(similar[j] / temperature) for j in nearest}
    return [
        sum(w for j, w in weights.items() if labels[j] == k) / sum(weights.values())
        for k in range(10)
    ]


@pytest.mark.parametrize("count", [7, 200])
@pytest.mark.parametrize("block", [1, 2**24])
def test_votes_are_a_plain_loop_s(count: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmnar.methods.knn.BLOCK", block)
    data = make_data()
    method = build("knn", data, NoNorm, neighbours=count, temperature=0.2)
    assert isinstance(method, KNN)
    fit(method, data)
    features = features_of_all(method, data)
    labels, similar, size = method.labels.tolist(), cosines(features), len(features)
    count = min(count, size - 1)
    measured = method.measure()
    for i in range(size):
        others = [j for j in range(size) if j != i]
        expected = shares(similar[i], labels, others, count, 0.2)
        assert float(measured.confidence["first"][i]) == pytest.approx(expected[labels[i]])
        assert float(measured.top["first"][i]) == pytest.approx(max(expected))
        assert expected[int(measured.prediction["first"][i])] == pytest.approx(max(expected))
        nearest = sorted(others, key=lambda j: -similar[i][j])[:count]
        agree = sum(labels[j] == labels[i] for j in nearest) / count
        assert float(method.scores()["agreement"][i]) == pytest.approx(agree)
    assert method.record["loss_first"] == pytest.approx(
        sum(-math.log(max(float(c), 1e-4)) for c in measured.confidence["first"]) / size
    )

    images = data.splits["test"].images.float() / 255
    said = method(images)
    of_both = cosines(torch.cat([features, network_of(method).features(images)]))
    for row, p in zip(of_both[size:], said.tolist(), strict=True):
        expected = shares(row[:size], labels, [*range(size)], count, 0.2)
        assert p == pytest.approx(expected, abs=1e-6)


class Given(nn.Module):
    """Features that are the first pixels, to tell beforehand who is near whom."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.feature_size = nn.Linear(2, 2), 2

    def features(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :2]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def voting(labels: list[int], bank: list[list[float]], **settings: Any) -> KNN:
    """A method of two classes that knows these features."""
    setting = make_setting(
        make_data(), Given, labels=torch.tensor(labels), class_names=("a", "b"), test_names=("t",)
    )
    method = KNN(setting, **settings)
    method.head.bank.copy_(F.normalize(torch.tensor(bank), dim=-1))
    return method


LINE = [[1.0, 0.0], [1.0, 0.1], [1.0, 0.3], [0.0, 1.0], [0.1, 1.0]]


def test_one_neighbour_rules_alone_and_no_sample_asks_itself() -> None:
    method = voting([0, 1, 1, 0, 1], LINE, neighbours=1)
    assert method.measure().prediction["first"].tolist() == [1, 0, 1, 1, 0]
    assert method.measure().confidence["first"].tolist() == [0, 0, 1, 0, 0]
    pixels = torch.zeros(1, 1, 8, 8)
    pixels[0, 0, 0, :2] = torch.tensor(LINE[3])
    assert method(pixels)[0].tolist() == pytest.approx([1, 0]), "a test image asks them all"


def test_a_high_temperature_counts_heads() -> None:
    method = voting([0, 1, 1, 0, 1], LINE, neighbours=3, temperature=1e6)
    torch.testing.assert_close(method.measure().confidence["first"], method.agreement)


def test_a_class_without_samples_has_no_votes_and_agreement_no_loss() -> None:
    method = voting([1] * 5, LINE)
    assert method.measure().confidence["first"].tolist() == pytest.approx([1] * 5)
    batch = next(train_batches(make_data(("plain",), batch_size=2)))
    batch = batch._replace(indices=torch.tensor([0, 3]))
    assert method.losses(batch)["first"]["loss_first"].tolist() == [0, 0]


def test_one_pass_is_all_that_neighbours_need(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    make_pass = KNN.ordered_pass

    def counted(self: KNN, visit: Any) -> dict[str, Tensor]:
        passes.append(1)
        return make_pass(self, visit)

    monkeypatch.setattr(KNN, "ordered_pass", counted)
    data = make_data()
    method = build("knn", data)
    fit(method, data, epochs=3)
    method.measure()
    assert len(passes) == 1
    assert method.advice(1) is None
    assert "trainer.max_epochs=1" in str(method.advice(2))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (LinearProbe, {"networks": 2}, "method.networks must be 1 for a linear probe, got 2"),
        (KNN, {"networks": 2}, "method.networks must be 1 for neighbours' votes, got 2"),
        (KNN, {"neighbours": 0}, "method.neighbours must be at least 1, got 0"),
        (KNN, {"temperature": 0.0}, "method.temperature must be over 0, got 0.0"),
        (KNN, {"temperature": math.nan}, "method.temperature must be over 0, got nan"),
    ],
)
def test_settings_out_of_range_are_told(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        kind(make_setting(make_data(("weak",))), **settings)
    assert str(error.value) == message


@pytest.mark.parametrize("kind", [LinearProbe, KNN])
def test_a_network_must_tell_its_features(kind: Any) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    with pytest.raises(InputError, match="Sequential has no feature"):
        kind(make_setting(make_data(("weak",)), make))
