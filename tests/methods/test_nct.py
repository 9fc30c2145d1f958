"""NCT: closed forms, the labels it draws, and all of it written again as plain loops."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from math import exp, log
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from toy import (
    SIZE,
    FewDigits,
    GivenAsTheyAre,
    TinyNet,
    fit,
    make_data,
    make_setting,
    same_state,
    state,
    train_batches,
)

from pmnar.data import Batch, NoisyDataModule
from pmnar.data.batches import Share
from pmnar.errors import InputError
from pmnar.methods import NCT

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)
SETTINGS: dict[str, Any] = {"distillation": 0.8, "ramp_epochs": 2, "temperature": 3.0}
SETTINGS |= {"least_variability": 0.1, "most_variability": 0.6}
SETTINGS |= {"vary_after": 1, "most_after": 5}


class Reference:
    """Two networks, two optimisers, samples one by one."""

    def __init__(self, data: NoisyDataModule, nets: list[nn.Module]) -> None:
        self.data, self.nets = data, nets
        self.optimizers = [
            torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=5e-4) for net in nets
        ]

    def train(self, epochs: int) -> None:
        for epoch in range(epochs):
            for batch in train_batches(self.data, epoch):
                self.step(batch, epoch)
            if epoch == 1:
                for optimizer in self.optimizers:
                    optimizer.param_groups[0]["lr"] /= 10

    def step(self, batch: Batch, epoch: int) -> None:
        z = [net(batch.views[0]) for net in self.nets]
        alpha = 0.8 * exp(-5 * (1 - min(epoch, 2) / 2) ** 2)
        share = 0.1 if epoch <= 1 else 0.1 + 0.5 * log(epoch - 1) / log(4) if epoch < 5 else 0.6
        losses = []
        for k, name in enumerate(("first", "second")):
            assert batch.share is not None
            generator = batch.share.generator(f"variability {name}")
            uniform = torch.rand(len(batch.labels), generator=generator).tolist()
            drawn = torch.randint(10, (len(batch.labels),), generator=generator).tolist()
            rows = []
            for row, label in enumerate(batch.labels.tolist()):
                varied = drawn[row] if uniform[row] < share else label
                p, q = (z[k][row] / 3).softmax(-1), (z[1 - k][row].detach() / 3).softmax(-1)
                apart = sum(q[c] * (q[c].log() - p[c].log()) for c in range(10))
                ce = -z[k][row].log_softmax(-1)[varied]
                rows.append((1 - alpha) * ce + alpha * 9 * apart)
            losses.append(torch.stack(rows).mean())
        for optimizer, loss in zip(self.optimizers, losses, strict=True):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()


def test_four_epochs_equal_the_plain_loop() -> None:
    data = make_data(source=FewDigits(50))
    method = build("nct", data, DOUBLE, **SETTINGS)
    nets = [deepcopy(net) for net in method.networks.values()]
    fit(method, data, epochs=4)
    Reference(data, nets).train(4)
    close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-6)
    for net, expected in zip(method.networks.values(), nets, strict=True):
        close(dict(net.state_dict()), dict(expected.state_dict()))


def test_alone_and_with_labels_as_they_are_it_is_cross_entropy() -> None:
    states = []
    own: dict[str, Any] = {"distillation": 0.0, "least_variability": 0.0, "most_variability": 0.0}
    for name, settings in (("nct", own), ("ce", {"networks": 2})):
        data = make_data()
        method = build(name, data, **settings)
        fit(method, data, epochs=2)
        states.append(state(method.networks))
    assert same_state(*states)


def at_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, **settings: Any) -> NCT:
    method = build("nct", make_data(), DOUBLE, **settings)
    assert isinstance(method, NCT)
    monkeypatch.setattr(NCT, "current_epoch", epoch)
    return method


def test_networks_that_agree_teach_each_other_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    method = at_epoch(monkeypatch, 50, distillation=1.0)
    first, second = method.networks.values()
    second.load_state_dict(first.state_dict())
    batch = next(train_batches(make_data(("weak",))))
    loss = torch.stack([t.sum() for terms in method.losses(batch).values() for t in terms.values()])
    gradients = torch.autograd.grad(loss.sum(), list(method.networks.parameters()))
    assert all(gradient.abs().max() < 1e-12 for gradient in gradients)


def test_the_gradient_of_what_is_taught_does_not_shrink_with_the_temperature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """T² · KL has the gradient T (p − q), which tends to (z − z′ − their means) / K."""
    method = at_epoch(monkeypatch, 50, distillation=1.0, temperature=1e4)
    batch = next(train_batches(make_data(("weak",))))
    z = {name: net(batch.views[0]).detach() for name, net in method.networks.items()}
    leaves = {name: each.requires_grad_() for name, each in z.items()}
    monkeypatch.setattr(
        method.networks, "logits", lambda _: {name: (each,) for name, each in leaves.items()}
    )
    loss: Tensor = method.losses(batch)["first"]["loss_distilled"].sum()
    [found] = torch.autograd.grad(loss, leaves["first"])
    apart = (z["first"] - z["second"]).detach()
    expected = (apart - apart.mean(-1, keepdim=True)) / 10
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("epoch", "variability", "alpha"),
    [
        (0, 0.2, 0.9 * exp(-5)),
        (3, 0.2, 0.9 * exp(-5 * 0.85**2)),
        (4, 0.2, 0.9 * exp(-5 * 0.8**2)),
        (10, 0.2 + 0.5 * log(7) / log(197), 0.9 * exp(-1.25)),
        (50, 0.2 + 0.5 * log(47) / log(197), 0.9),
        (199, 0.2 + 0.5 * log(196) / log(197), 0.9),
        (200, 0.7, 0.9),
    ],
)
def test_variability_and_distillation_rise(
    monkeypatch: pytest.MonkeyPatch, epoch: int, variability: float, alpha: float
) -> None:
    method = NCT(make_setting(make_data()))
    monkeypatch.setattr(NCT, "current_epoch", epoch)
    assert method.variability(epoch) == pytest.approx(variability)
    assert method.alpha == pytest.approx(alpha)


@pytest.mark.parametrize("steady", [1, 4, 5, 6, 9])
def test_variability_that_hardly_rises(steady: int) -> None:
    method = NCT(make_setting(make_data()), vary_after=steady, most_after=5)
    found = [method.variability(epoch) for epoch in range(12)]
    assert found == sorted(found)
    assert {found[0], found[-1]} == {0.2, 0.7}


def test_each_network_s_labels_are_drawn_of_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So of those drawn one in K stays."""
    method = at_epoch(monkeypatch, 300, most_variability=0.5)
    labels = torch.arange(20_000) % 10
    varied = {n: method._varied(labels, Share(1, 20_000), n) for n in ("first", "second")}
    for found in varied.values():
        assert float((found != labels).double().mean()) == pytest.approx(0.45, abs=0.01)
        counts = torch.bincount(found[labels == 3], minlength=10) / 2000
        assert counts.tolist() == pytest.approx([0.05] * 3 + [0.55] + [0.05] * 6, abs=0.025)
    agree = (varied["first"] != labels) & (varied["second"] != labels)
    assert float(agree.double().mean()) == pytest.approx(0.45**2, abs=0.01)
    for rank in range(3):
        share = Share(1, 20_000, rank, 3)
        mine = method._varied(share.take(labels), share, "first")
        assert torch.equal(mine, share.take(varied["first"]))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_labels_stay_or_all_are_drawn(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    method = at_epoch(monkeypatch, 300, most_variability=share)
    labels = torch.zeros(1000, dtype=torch.int64)
    found = method._varied(labels, Share(1, 1000), "first")
    assert float((found == 0).double().mean()) == pytest.approx(1 - 0.9 * share, abs=0.03)


@pytest.mark.parametrize("classes", [1, 2, 9])
def test_of_few_classes_and_of_one_without_images(classes: int) -> None:
    """Two are all that the networks know of, where there are two."""
    given = FewDigits(labels=torch.arange(SIZE) % classes)
    data = make_data(source=given, noise=GivenAsTheyAre())
    names = ("a", "b") if classes == 2 else data.class_names
    net = partial(TinyNet, num_classes=len(names))
    method = build("nct", data, net, class_names=names)
    fit(method, data, epochs=3, limit_val_batches=0)
    assert all(value.isfinite().all() for value in method.networks.state_dict().values())


def test_its_score_is_what_labels_have_of_the_likeliest_class() -> None:
    data = make_data()
    method = build("nct", data, DOUBLE)
    assert method.scores() == {}
    fit(method, data)
    prediction = method.measure().prediction["ensemble"]
    said = method.ordered_pass(
        lambda outputs, batch: {name: output.probabilities for name, output in outputs.items()}
    )
    expected = []
    for i, label in enumerate(method.labels.tolist()):
        mean = [(a + b) / 2 for a, b in zip(*(p[i].tolist() for p in said.values()), strict=True)]
        expected.append(mean[label] / max(mean))
    found = method.scores()["relative_confidence"]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert torch.equal(found == 1, prediction == method.labels)


def test_it_says_that_its_networks_stay_unsure() -> None:
    setting = make_setting(make_data())
    told = NCT(setting).advice(80)
    assert told is not None
    assert "61% of the labels are drawn at random in the end" in told
    assert NCT(setting, most_variability=0.2).advice(80) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 1}, "method.networks must be 2, which teach each other, got 1"),
        ({"distillation": 1.1}, r"method.distillation must be in \[0, 1\], got 1.1"),
        ({"ramp_epochs": -1}, "method.ramp_epochs must be at least 0, got -1"),
        ({"temperature": 0.0}, "method.temperature must be over 0, got 0.0"),
        ({"least_variability": -0.1}, r"method.least_variability must be in \[0, 1\], got -0.1"),
        ({"most_variability": 1.1}, r"method.most_variability must be in \[0, 1\], got 1.1"),
        ({"vary_after": -1}, "method.vary_after must be at least 0, got -1"),
        ({"most_after": 0}, "method.most_after must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NCT(make_setting(make_data(("weak",))), **settings)
