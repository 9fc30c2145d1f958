"""What is Co-teaching's own, and its relatives': which samples each network is trained on."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor
from toy import TinyNet, fit, make_data, make_setting, same_state, state, train_batches

from pmnar.data import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods import CoTeaching, CoTeachingPlus, Decoupling, JoCoR, NoisyLabelMethod
from pmnar.methods.measurement import Measurement
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.run_folder import CHECKPOINT


def test_it_says_which_noise_rate_it_goes_by() -> None:
    told = CoTeaching(make_setting(make_data(), TinyNet), forget_rate=0.45).advice(10)
    assert told is not None
    assert "45.0% of each batch" in told
    assert "method.forget_rate" in told


def two(name: str, **settings: Any) -> tuple[NoisyLabelMethod, Batch, list[Tensor], list[Tensor]]:
    """A method of networks that are alike, a batch, their logits of it, their cross-entropies."""
    data = make_data(("weak",))
    method = build(name, data, partial(TinyNet, dtype=torch.float64), **settings)
    first, second = method.networks.values()
    second.load_state_dict(first.state_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in second.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
    batch = next(train_batches(data))
    logits = [z.detach() for [z] in method.networks.logits(batch.views).values()]
    return method, batch, logits, [cross_entropy(z, batch.labels) for z in logits]


def means(method: NoisyLabelMethod, batch: Batch) -> list[float]:
    """What each network's loss is, over the batch."""
    found = method.losses(batch).values()
    return [float(torch.stack([*terms.values()]).detach().sum(0).mean()) for terms in found]


def smallest(losses: Tensor, count: int, among: list[int]) -> list[int]:
    return sorted(among, key=lambda i: float(losses[i]))[:count]


def at_epoch(monkeypatch: pytest.MonkeyPatch, method: NoisyLabelMethod, epoch: int) -> None:
    monkeypatch.setattr(type(method), "current_epoch", epoch)


@pytest.mark.parametrize("epoch", [0, 1, 5, 9, 50])
def test_the_peer_s_easiest_are_trained_on(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    method, batch, _, (first, second) = two("co_teaching", forget_rate=0.5, gradual_epochs=10)
    at_epoch(monkeypatch, method, epoch)
    count = int((1 - 0.5 * min(epoch / 9, 1)) * 20)
    expected = [
        float(loss[smallest(of_peer, count, [*range(20)])].mean())
        for loss, of_peer in ((first, second), (second, first))
    ]
    assert means(method, batch) == pytest.approx(expected)


def test_after_its_warm_up_co_teaching_plus_takes_them_where_predictions_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"forget_rate": 0.5, "gradual_epochs": 10}
    method, batch, (one, other), (first, second) = two("co_teaching_plus", **settings)
    plain = two("co_teaching", **settings)[0]
    for each in (method, plain):
        at_epoch(monkeypatch, each, 0)
    assert means(method, batch) == means(plain, batch)
    at_epoch(monkeypatch, method, 20)
    differ = [i for i in range(20) if one[i].argmax() != other[i].argmax()]
    assert 2 <= len(differ) < 20
    expected = [
        float(loss[smallest(of_peer, len(differ) // 2, differ)].mean())
        for loss, of_peer in ((first, second), (second, first))
    ]
    assert means(method, batch) == pytest.approx(expected)


def test_decoupling_trains_where_predictions_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch, (one, other), losses = two("decoupling", least_share=0.9)
    at_epoch(monkeypatch, method, 0)
    assert means(method, batch) == pytest.approx([float(loss.mean()) for loss in losses])
    at_epoch(monkeypatch, method, 1)  # the toys' warm-up is of one epoch
    differ = [i for i in range(20) if one[i].argmax() != other[i].argmax()]
    assert 2 <= len(differ) < 18
    expected = [float(loss[differ].sum()) / 18 for loss in losses]
    assert means(method, batch) == pytest.approx(expected)
    assert isinstance(method, Decoupling)
    method.least_share = 1e-9
    expected = [float(loss[differ].mean()) for loss in losses]
    assert means(method, batch) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["decoupling", "co_teaching_plus"])
def test_networks_that_agree_are_not_trained(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    method, batch, _, _ = two(name)
    method.networks["second"].load_state_dict(method.networks["first"].state_dict())
    at_epoch(monkeypatch, method, 20)
    loss = torch.cat([t for terms in method.losses(batch).values() for t in terms.values()])
    gradients = torch.autograd.grad(loss.sum(), list(method.networks.parameters()))
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("agreement", [0.0, 0.9])
def test_jocor_is_the_joint_loss_of_the_easiest(
    monkeypatch: pytest.MonkeyPatch, agreement: float
) -> None:
    method, batch, (one, other), (first, second) = two(
        "jocor", forget_rate=0.5, agreement=agreement
    )
    at_epoch(monkeypatch, method, 20)
    p, q = one.softmax(-1), other.softmax(-1)
    divergences = (p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)
    joint = (1 - agreement) * (first + second) + agreement * divergences
    chosen = smallest(joint, 10, [*range(20)])
    assert sum(means(method, batch)) == pytest.approx(float(joint[chosen].mean()), rel=1e-6)
    assert method.losses_are_apart == (agreement == 0)


def test_the_whole_of_the_divergence_is_minimised() -> None:
    """Its gradient also goes to the network that it is measured from."""
    method, batch, _, _ = two("jocor", agreement=1.0, forget_rate=0.0)
    terms = method.losses(batch)
    loss = terms["first"]["loss_agreement"].sum()
    of_other = torch.autograd.grad(loss, list(method.networks["second"].parameters()))
    assert all(gradient.any() for gradient in of_other)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (CoTeachingPlus, {"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
        (CoTeachingPlus, {"networks": 1}, "method.networks must be 2, .* got 1"),
        (JoCoR, {"agreement": 1.5}, r"method.agreement must be in \[0, 1\], got 1.5"),
        (
            JoCoR,
            {"forget_rate": 1.0},
            r"method.forget_rate must be in \[0, 1\) or estimate, got 1.0",
        ),
        (Decoupling, {"networks": 1}, "method.networks must be 2 for Decoupling, got 1"),
        (Decoupling, {"least_share": 0.0}, r"method.least_share must be in \(0, 1\], got 0.0"),
        (Decoupling, {"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_told(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(make_setting(make_data(("weak",))), **settings)


@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_the_share_left_out_rises_as_in_its_code(
    monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    """`linspace(0, rate, epochs)`, and the rate from then on."""
    method = two("co_teaching", forget_rate=0.4, gradual_epochs=epochs)[0]
    assert isinstance(method, CoTeaching)
    rates = [*torch.linspace(0, 0.4, epochs).tolist(), 0.4, 0.4]
    for epoch, rate in enumerate(rates):
        at_epoch(monkeypatch, method, epoch)
        assert 1 - float(method.keep) == pytest.approx(rate)
    assert rates[method.events()["forget_rate reached"]] == pytest.approx(0.4)


# -- a noise rate that nobody tells ---------------------------------------------------------------


def test_the_rate_is_estimated_while_it_rises_and_then_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From two groups of losses, one in four of the larger, in networks that disagree a little."""
    method = two("co_teaching", forget_rate="estimate", gradual_epochs=3)[0]
    assert isinstance(method, CoTeaching)
    assert method.advice(10) is None
    assert method.estimated is not None
    generator = torch.Generator().manual_seed(0)
    for epoch, one_in in ((1, 3), (2, 2), (3, 4), (4, 2)):
        right = torch.arange(60) % one_in > 0
        likely = torch.where(right, 0.9, 0.02) * (0.9 + 0.1 * torch.rand(60, generator=generator))
        confidence = {"first": likely, "second": likely.sqrt()}
        method.measurement = Measurement(confidence, {}, {}, {})
        method.prepare_epoch(epoch)
        expected = {1: 0.0, 2: 0.5, 3: 0.25, 4: 0.25}[epoch]
        assert float(method.estimated) == pytest.approx(expected, abs=0.02)
        assert method.record["forget_rate"] == float(method.estimated)
        at_epoch(monkeypatch, method, epoch - 1)
        assert float(method.keep) == 1 - float(method.estimated) * min((epoch - 1) / 2, 1)


@pytest.mark.parametrize("name", ["co_teaching", "co_teaching_plus", "jocor"])
def test_a_rate_that_is_estimated_is_resumed(name: str, tmp_path: Path) -> None:
    io: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    data, settings = make_data(), {"forget_rate": "estimate", "gradual_epochs": 2}
    whole = build(name, data, TinyNet, 0.1, **settings)
    fit(whole, data, 4)
    assert isinstance(whole, CoTeaching)
    assert whole.estimated is not None
    assert 0 < float(whole.estimated) < 1
    for epoch in (1, 3):
        folder = tmp_path / str(epoch)
        fit(build(name, data, TinyNet, 0.1, **settings), data, epoch, [RunCheckpoint(folder)], **io)
        again = build(name, data, TinyNet, 0.1, **settings)
        fit(again, data, 4, [RunCheckpoint(folder)], folder / CHECKPOINT, **io)
        assert same_state(state(whole), state(again))


@pytest.mark.parametrize("rate", ["guess", 1.0, -0.1, None])
def test_a_rate_is_told_or_estimated(rate: Any) -> None:
    setting = make_setting(make_data(("weak",)))
    with pytest.raises(InputError, match=rf"must be in \[0, 1\) or estimate, got {rate}"):
        CoTeaching(setting, forget_rate=rate)
