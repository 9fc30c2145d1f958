"""ELR and ELR+: closed forms, and ELR+ written again as plain loops over samples."""

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
    FewDigits,
    TinyNet,
    fit,
    make_data,
    make_setting,
    same_state,
    state,
    train_batches,
)

from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import ELR, ELRPlus
from pmnar.methods.elr import disagreement
from pmnar.methods.mixing import Mixing
from pmnar.methods.ramps import ramp

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)


def test_the_regulariser_s_gradient_is_the_closed_form() -> None:
    """`−1 / (1 − ⟨t, p⟩) · p_k (t_k − ⟨t, p⟩)`; the target is a constant."""
    torch.manual_seed(0)
    z = torch.randn(20, 6, dtype=torch.float64, requires_grad=True)
    t = torch.randn(20, 6, dtype=torch.float64).softmax(-1)
    [found] = torch.autograd.grad(disagreement(t, z).sum(), z)
    p = z.detach().softmax(-1)
    agreement = (t * p).sum(-1, keepdim=True)
    torch.testing.assert_close(found, -p * (t - agreement) / (1 - agreement))


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_it_is_finite_where_target_and_prediction_are_sure(size: float) -> None:
    z = (size * torch.eye(4)).requires_grad_()
    for target in (torch.eye(4), 1 - torch.eye(4), torch.zeros(4, 4)):
        loss = disagreement(target, z)
        assert loss.isfinite().all()
        assert torch.autograd.grad(loss.sum(), z)[0].isfinite().all()


def test_without_strength_it_is_cross_entropy() -> None:
    states = []
    for name in ("elr", "ce"):
        data = make_data()
        method = build(name, data)
        if isinstance(method, ELR):
            method.strength = 0.0
        fit(method, data, epochs=2)
        states.append(state(method.networks))
    assert same_state(*states)


def test_targets_are_updated_before_they_are_used() -> None:
    data = make_data()
    method = build("elr", data, DOUBLE, memory=0.9, strength=2.0)
    assert isinstance(method, ELR)
    batch = next(train_batches(data))
    expected = torch.zeros(60, 10, dtype=torch.float64)
    for _ in range(3):
        z = method.networks["first"](batch.views[0]).detach()
        p = z.softmax(-1).clamp(1e-4, 1 - 1e-4)
        loss = method.losses(batch)["first"]["loss_early"]
        for row, i in enumerate(batch.indices.tolist()):
            expected[i] = 0.9 * expected[i] + 0.1 * p[row] / p[row].sum()
            agreement = float(expected[i] @ p[row])
            assert float(loss[row].detach()) == pytest.approx(2 * log(1 - agreement), rel=1e-5)
    torch.testing.assert_close(method.targets[0].double(), expected, rtol=1e-6, atol=1e-7)
    given = expected[torch.arange(60), method.labels]
    torch.testing.assert_close(method.scores()["target"].double(), given, rtol=1e-6, atol=1e-7)


def test_ramps_rise_to_1() -> None:
    assert ramp(0, 0) == 1
    assert [ramp(step, 10) for step in (0, 5, 10, 20)] == [exp(-5), exp(-1.25), 1, 1]


def step_of(decay: float, ramp_steps: int, step: int) -> float:
    """How much of an average stays after so many steps."""
    if ramp_steps == 0:
        return min(decay, 1 - 1 / step)
    return decay * exp(-5 * (1 - min(step, ramp_steps) / ramp_steps) ** 2)


class Reference:
    """ELR+ in lists of numbers: two students, two teachers, two optimisers."""

    def __init__(self, data: NoisyDataModule, students: list[nn.Module], **settings: Any) -> None:
        self.data, self.students, self.settings = data, students, settings
        self.teachers = [deepcopy(student) for student in students]
        self.labels = data.splits["train"].labels.tolist()
        size = len(self.labels)
        self.targets = [torch.zeros(size, 10, dtype=torch.float64) for _ in students]
        self.optimizers = [
            torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
            for net in students
        ]
        self.steps = 0

    def train(self, epochs: int) -> None:
        for epoch in range(epochs):
            for batch in train_batches(self.data, epoch):
                assert batch.share is not None
                mixing = Mixing([batch.share], 1.0, larger=True)
                order = mixing.partners([torch.arange(len(batch.indices))]).tolist()
                self.step(batch.views[0], batch.indices.tolist(), float(mixing.weight), order)
            if epoch == 1:
                for optimizer in self.optimizers:
                    optimizer.param_groups[0]["lr"] /= 10

    def step(self, images: Tensor, samples: list[int], weight: float, order: list[int]) -> None:
        with torch.no_grad():
            said = [teacher(images).softmax(-1) for teacher in self.teachers]
        mixed = torch.stack(
            [weight * images[i] + (1 - weight) * images[j] for i, j in enumerate(order)]
        )
        for position, net in enumerate(self.students):
            self.learn(position, net(mixed), said[1 - position], samples, weight, order)
        self.steps += 1
        self.follow()

    def learn(
        self,
        position: int,
        z: Tensor,
        said: Tensor,
        samples: list[int],
        weight: float,
        order: list[int],
    ) -> None:
        targets, memory = self.targets[position], self.settings["memory"]
        for row, i in enumerate(samples):
            targets[i] = memory * targets[i] + (1 - memory) * said[row]
        losses = []
        for row, other in enumerate(order):
            i, j = samples[row], samples[other]
            target = weight * targets[i] + (1 - weight) * targets[j]
            label = [0.0] * 10
            label[self.labels[i]] += weight
            label[self.labels[j]] += 1 - weight
            if self.settings["reweight_labels"]:
                both = [y * float(t) for y, t in zip(label, target, strict=True)]
                label = [value / sum(both) for value in both]
            p = z[row].softmax(-1)
            ce = -sum(y * p[k].log() for k, y in enumerate(label) if y)
            agreement = (target * p.clamp(1e-4, 1 - 1e-4)).sum()
            strength = self.settings["strength"]
            if steps := self.settings["strength_ramp"]:
                strength *= exp(-5 * (1 - min(self.steps, steps) / steps) ** 2)
            losses.append(ce + strength * (1 - agreement).log())
        self.optimizers[position].zero_grad()
        torch.autograd.backward(torch.stack(losses).mean())
        self.optimizers[position].step()

    @torch.no_grad()
    def follow(self) -> None:
        decay = step_of(self.settings["decay"], self.settings["average_ramp"], self.steps)
        for teacher, student in zip(self.teachers, self.students, strict=True):
            for mine, other in zip(teacher.parameters(), student.parameters(), strict=True):
                mine.copy_(decay * mine + (1 - decay) * other)


SETTINGS = {"memory": 0.7, "strength": 3.0, "decay": 0.9}


@pytest.mark.parametrize(
    "more",
    [
        {"reweight_labels": False, "strength_ramp": 0, "average_ramp": 6},
        {"reweight_labels": True, "strength_ramp": 6, "average_ramp": 0},
    ],
)
def test_three_epochs_equal_the_plain_loop(more: dict[str, Any]) -> None:
    data = make_data(source=FewDigits(50))
    method = build("elr_plus", data, DOUBLE, **SETTINGS, **more)
    assert isinstance(method, ELRPlus)
    students = [deepcopy(net) for net in method.networks.values()]
    fit(method, data, epochs=3)
    reference = Reference(data, students, **SETTINGS, **more)
    reference.train(epochs=3)
    # Targets are float32 in the library.
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    for net, expected in zip(method.networks.values(), students, strict=True):
        close(dict(net.state_dict()), dict(expected.state_dict()))
    for net, expected in zip(method.averages.values(), reference.teachers, strict=True):
        close(dict(net.named_parameters()), dict(expected.named_parameters()))
    close(method.targets.double(), torch.stack(reference.targets))


def test_a_target_with_nothing_for_either_label_makes_no_label() -> None:
    data = make_data()
    method = build("elr_plus", data, reweight_labels=True)
    assert isinstance(method, ELRPlus)
    labels, target = torch.eye(4), torch.eye(4).roll(1, 0)
    assert not method._label(labels, target).any()
    assert torch.equal(method._label(labels, torch.full((4, 4), 0.1)), labels)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ELR, {"strength": -1.0}, "method.strength must be at least 0, got -1.0"),
        (ELR, {"memory": 1.0}, r"method.memory must be in \[0, 1\), got 1.0"),
        (ELRPlus, {"networks": 1}, r"method.networks must be 2 for ELR\+, got 1"),
        (ELRPlus, {"alpha": 0.0}, "method.alpha must be over 0, got 0.0"),
        (ELRPlus, {"decay": 1.0}, r"method.decay must be in \[0, 1\), got 1.0"),
        (ELRPlus, {"strength_ramp": -1}, "method.strength_ramp must be at least 0, got -1"),
        (ELRPlus, {"average_ramp": -1}, "method.average_ramp must be at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_told(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(make_setting(make_data(("weak",))), **settings)
