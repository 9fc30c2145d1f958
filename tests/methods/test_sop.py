"""SOP and SOP+: closed forms, and SOP+ written again as plain loops over samples."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from math import log
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from toy import FewDigits, TinyNet, fit, make_data, make_setting, state, train_batches

from pmnar.data import NoisyDataModule, Share
from pmnar.errors import InputError
from pmnar.methods import SOP
from pmnar.methods.sop import INITIAL, _imbalance

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)


def test_without_noise_it_is_cross_entropy_and_a_constant() -> None:
    data = make_data()
    method = build("sop", data, DOUBLE)
    assert isinstance(method, SOP)
    for buffer in (method.given_noise, method.other_noise):
        buffer.zero_()
    batch = next(train_batches(data))
    terms = method.losses(batch)["first"]
    [z] = method.networks.logits(batch.views)["first"]
    expected = torch.nn.functional.cross_entropy(z, batch.labels, reduction="none")
    likely = z.softmax(-1).gather(-1, batch.labels[:, None]).squeeze(-1) > 1e-3
    torch.testing.assert_close(terms["loss_first"][likely], expected[likely], rtol=1e-3, atol=1e-3)
    wrong = (z.argmax(-1) != batch.labels).double()
    torch.testing.assert_close(terms["loss_noise"].double(), 2 * wrong)
    gradients = torch.autograd.grad(
        terms["loss_noise"].sum(), list(method.networks.parameters()), allow_unused=True
    )
    assert set(gradients) == {None}


def test_only_the_rows_of_the_batch_change() -> None:
    data = make_data()
    method = build("sop", data)
    before = {name: value for name, value in state(method).items() if "_noise" in name}
    batch = next(train_batches(data))
    loss = torch.stack([term.mean() for term in method.losses(batch)["first"].values()]).sum()
    torch.autograd.backward(loss)
    method.after_step(batch)
    mine = torch.zeros(60, dtype=torch.bool)
    mine[batch.indices] = True
    assert set(before) == {"given_noise", "other_noise"}
    for name, rows in before.items():
        changed = (method.get_buffer(name) != rows).any(-1)
        assert not changed[~mine].any()
        assert changed[mine].any()


def test_a_sample_s_noise_begins_small_and_is_the_seed_s() -> None:
    data = make_data()
    one, same, other = (build("sop", data, seed=seed) for seed in (1, 1, 2))
    for name in ("given_noise", "other_noise"):
        assert float(one.get_buffer(name).std()) == pytest.approx(INITIAL, rel=0.2)
        assert torch.equal(one.get_buffer(name), same.get_buffer(name))
        assert not torch.equal(one.get_buffer(name), other.get_buffer(name))


def test_a_label_that_is_explained_as_noise_is_no_longer_learned() -> None:
    data = make_data()
    method = build("sop", data)
    assert isinstance(method, SOP)
    batch = next(train_batches(data))
    losses = []
    for size in (0.0, 0.5, 1.0):
        method.given_noise.fill_(size)
        losses.append(method.losses(batch)["first"]["loss_first"].detach())
    assert (losses[1] < losses[0]).all()
    assert (losses[2] < losses[1]).all()
    torch.testing.assert_close(method.scores()["noise"], torch.ones(60))


class Reference:
    """SOP+ in lists of numbers, with an optimiser of torch's for u and v."""

    def __init__(self, data: NoisyDataModule, method: SOP, balance: float, agree: float) -> None:
        self.data, self.net = data, deepcopy(method.networks["first"])
        self.labels = data.splits["train"].labels.tolist()
        self.u = method.given_noise.double().clone().requires_grad_()
        self.v = method.other_noise.double().clone().requires_grad_()
        self.balance, self.agree = balance, agree
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
        )
        groups = [{"params": [self.u], "lr": 1.0}, {"params": [self.v], "lr": 10.0}]
        self.of_noise = torch.optim.SGD(groups)

    def train(self, epochs: int) -> None:
        for epoch in range(epochs):
            for batch in train_batches(self.data, epoch):
                self.step(self.net(torch.cat(batch.views)), batch.indices.tolist())
            if epoch == 1:
                self.optimizer.param_groups[0]["lr"] /= 10

    def step(self, z: Tensor, samples: list[int]) -> None:
        found = [self.sample(z[row], i) for row, i in enumerate(samples)]
        loss = torch.stack([of_sample for of_sample, _ in found]).mean()
        mean = torch.stack([explained for _, explained in found]).mean(0)
        for k in range(10):
            loss = loss - self.balance * mean[k].clamp(1e-4, 1).log() / 10
        for row in range(len(z) - len(samples)):  # the strong view's, where there is one
            p = z[row].detach().softmax(-1)
            q = z[len(samples) + row].softmax(-1)
            divergence = sum(p[k] * (p[k].log() - q[k].log()) for k in range(10))
            loss = loss + self.agree * divergence / len(samples)
        for optimizer in (self.optimizer, self.of_noise):
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        for optimizer in (self.optimizer, self.of_noise):
            optimizer.step()

    def sample(self, z: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """Its loss, and the distribution that explains its label."""
        y, p, h = self.labels[i], z.softmax(-1), int(z.argmax())
        explained, fit = [], torch.zeros((), dtype=torch.float64)
        for k in range(10):
            if k == y:
                noise = (self.u[i, 0] ** 2).clamp(0, 1)
                explained.append((p[k] + noise).clamp(min=1e-4))
                fit = fit + (float(h == k) + noise - 1) ** 2
            else:
                noise = (self.v[i, k] ** 2).clamp(0, 1)
                explained.append((p[k] - noise.detach()).clamp(min=1e-4))
                fit = fit + (float(h == k) - noise) ** 2
        total = torch.stack(explained).sum()
        shares = torch.stack([(value / total).clamp(1e-4, 1) for value in explained])
        return fit - shares[y].log(), shares


@pytest.mark.parametrize(("balance", "agree"), [(0.0, 0.0), (0.1, 0.9)])
def test_three_epochs_equal_the_plain_loop(balance: float, agree: float) -> None:
    data = make_data(source=FewDigits(50))
    name = "sop_plus" if agree else "sop"
    method = build(name, data, DOUBLE)
    assert isinstance(method, SOP)
    assert (method.balance, method.consistency) == (balance, agree)
    # Large enough that three epochs move them; some are beyond 1, where they are held.
    generator = torch.Generator().manual_seed(0)
    for buffer in (method.given_noise, method.other_noise):
        buffer.copy_(torch.rand(buffer.shape, generator=generator) * 1.1)
    reference = Reference(data, method, balance, agree)
    fit(method, data, epochs=3)
    reference.train(epochs=3)
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(state(method.networks["first"]), state(reference.net))
    close(method.given_noise.double(), reference.u.detach())
    close(method.other_noise.double(), reference.v.detach())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for SOP, got 2"),
        ({"lr_given": -1.0}, "method.lr_given must be at least 0, got -1.0"),
        ({"lr_other": float("nan")}, "method.lr_other must be at least 0, got nan"),
        ({"balance": -0.1}, "method.balance must be at least 0, got -0.1"),
        ({"consistency": -0.1}, "method.consistency must be at least 0, got -0.1"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SOP(make_setting(make_data(("weak",))), **settings)


def test_an_even_batch_has_the_least_imbalance() -> None:
    even = torch.eye(5)
    assert float(_imbalance(even, Share(0, 5))) == pytest.approx(log(5), rel=1e-6)
    assert float(_imbalance(even[:1].expand(5, 5), Share(0, 5))) > 5
