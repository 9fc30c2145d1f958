"""MentorNet: the curriculum's closed form, its threshold, and training as a plain loop."""

from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from toy import FewDigits, TinyNet, fit, make_data, make_setting, same_state, state, train_batches

from pmnar.data import NoisyDataModule, Share
from pmnar.errors import InputError
from pmnar.methods import MentorNetPD

DOUBLE = partial(TinyNet, dtype=torch.float64)


def made(**settings: Any) -> MentorNetPD:
    setting = make_setting(make_data(("weak",)))
    return MentorNetPD(setting, **{"curriculum_epochs": 100, **settings})


def test_the_curriculum_by_the_percentage_of_epochs() -> None:
    """As its code has it: `e = ⌊100 t⌋` up to 18, below 90, from 90."""
    method = made(gamma=2.0)
    excess = torch.tensor([-1.0, 0.0, 0.5, 1.9, 2.0, 7.0])
    for percentage in range(100):
        for rest in (0.0, 0.999):
            method.epochs_done = percentage + rest
            if percentage <= 18:
                expected = [1.0] * 6
            elif percentage < 90:
                expected = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
            else:
                expected = [1.0, 1.0, 0.75, 0.05, 0.0, 0.0]
            assert method.curriculum(excess).tolist() == pytest.approx(expected, abs=1e-6)
            kept = int(method._kept(Share(0, 40)).sum())
            assert kept == (20 if percentage < 17 else 38)
    method.epochs_done = 1e4
    assert method.done == 1, "a run may go on"


def test_with_a_large_gamma_all_weigh_1_in_the_end() -> None:
    method = made(gamma=1e12)
    method.epochs_done = 95
    assert torch.equal(method.curriculum(torch.rand(50)), torch.ones(50))


def test_the_threshold_comes_to_the_percentile() -> None:
    """From 0, by half each time; then that share of a batch is easy."""
    data = make_data()
    method = build("mentornet_pd", data, DOUBLE, percentile=0.6)
    assert isinstance(method, MentorNetPD)
    method.epochs_done = 2.0
    batch = next(train_batches(data))
    loss = -method.networks["first"](batch.views[0]).log_softmax(-1)
    of_batch = sorted(loss[torch.arange(20), batch.labels].tolist())
    aim = of_batch[11] + 0.4 * (of_batch[12] - of_batch[11])
    for step in range(1, 40):
        method.losses(batch)
        assert float(method.threshold) == pytest.approx(aim * (1 - 0.5**step), rel=1e-5)
    assert float(method.sample_weights[batch.indices].sum()) == 12


def test_without_a_mentor_it_is_cross_entropy() -> None:
    none = {"burn_in": 1.0, "linear_from": 1.0, "dropout": 0.0, "first_dropout": 0.0}
    settings: dict[str, dict[str, Any]] = {"mentornet_pd": none, "ce": {}}
    states = []
    for name, more in settings.items():
        data = make_data()
        method = build(name, data, **more)
        fit(method, data, epochs=2)
        states.append(state(method.networks))
    assert same_state(*states)


class Reference:
    """Sample by sample, with sorted losses."""

    def __init__(self, data: NoisyDataModule, network: nn.Module, method: MentorNetPD) -> None:
        self.data, self.network, self.method = data, network, method
        self.threshold, self.weights = 0.0, [1.0] * len(data.splits["train"].labels)
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
        )

    def train(self, epochs: int) -> None:
        for epoch in range(epochs):
            batches = list(train_batches(self.data, epoch))
            for at, batch in enumerate(batches):
                done = (epoch + at / len(batches)) / 4
                assert batch.share is not None
                order = torch.randperm(
                    batch.share.size, generator=batch.share.generator("dropout of samples")
                ).tolist()
                rate = 0.5 if done < 0.17 else 0.05
                kept = order[: int(len(order) * (1 - rate))]
                self.step(batch.views[0], batch.labels.tolist(), batch.indices.tolist(), kept, done)
            if epoch == 1:
                self.optimizer.param_groups[0]["lr"] /= 10

    def weight(self, loss: float, done: float) -> float:
        if done < 0.19:
            return 1.0
        if done < 0.9:
            return float(loss <= self.threshold)
        return min(max(1 - (loss - self.threshold), 0.0), 1.0)

    def step(
        self, images: Tensor, labels: list[int], samples: list[int], kept: list[int], done: float
    ) -> None:
        p = self.network(images).softmax(-1)
        losses = [-p[row, y].log() for row, y in enumerate(labels)]
        ranked = sorted(float(loss.detach()) for loss in losses)
        place = 0.7 * (len(ranked) - 1)
        low, part = int(place), place - int(place)
        above = ranked[min(low + 1, len(ranked) - 1)]
        self.threshold = 0.5 * self.threshold + 0.5 * (ranked[low] * (1 - part) + above * part)
        terms = []
        for row, (i, loss) in enumerate(zip(samples, losses, strict=True)):
            self.weights[i] = self.weight(float(loss.detach()), done)
            if row in kept:
                terms.append(self.weights[i] * loss)
        self.optimizer.zero_grad()
        torch.autograd.backward(torch.stack(terms).sum() / len(losses))
        self.optimizer.step()


def test_four_epochs_equal_the_plain_loop() -> None:
    data = make_data(source=FewDigits(50))
    method = build("mentornet_pd", data, DOUBLE)
    assert isinstance(method, MentorNetPD)
    reference = Reference(data, deepcopy(method.networks["first"]), method)
    fit(method, data, epochs=4)
    reference.train(epochs=4)
    # The threshold and the weights are float32 in the library.
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)
    close(dict(method.networks["first"].state_dict()), dict(reference.network.state_dict()))
    close(method.weights, torch.tensor(reference.weights))
    assert float(method.threshold) == pytest.approx(reference.threshold, rel=1e-5)
    ease = method.threshold + method.measure().confidence["first"].log()
    torch.testing.assert_close(method.scores()["ease"], ease)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for MentorNet, got 2"),
        ({"curriculum_epochs": 0}, "method.curriculum_epochs must be at least 1, got 0"),
        ({"percentile": 1.0}, r"method.percentile must be in \(0, 1\), got 1.0"),
        ({"gamma": 0.0}, "method.gamma must be over 0, got 0.0"),
        ({"decay": 1.0}, r"method.decay must be in \[0, 1\), got 1.0"),
        ({"dropout": 1.0}, r"method.dropout must be in \[0, 1\), got 1.0"),
        ({"first_dropout": -0.1}, r"method.first_dropout must be in \[0, 1\), got -0.1"),
        ({"burn_in": 1.1}, r"method.burn_in must be in \[0, 1\], got 1.1"),
        ({"first_dropout_until": -1.0}, r"method.first_dropout_until must be in \[0, 1\], got -1"),
        ({"linear_from": "late"}, r"method.linear_from must be in \[0, 1\], got late"),
        ({"curriculum_epochs": 2.5}, "curriculum_epochs must be a whole number, at least 1, got 2"),
        (
            {"burn_in": 0.5, "linear_from": 0.4},
            r"method.linear_from must be in \[0.5, 1\], got 0.4",
        ),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**settings)
