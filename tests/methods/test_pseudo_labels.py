"""The stages of NLNL and JNPL, what ends them, and what is drawn."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from every import build
from toy import (
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

from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import JNPL, NLNL
from pmnar.methods.pseudo_labels import PseudoLabels
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.run_folder import CHECKPOINT

K = 10
EPOCHS = {"jnpl": 3, "nlnl": 5}
"""One of each stage."""


def made(name: str, data: NoisyDataModule, network: Any = TinyNet, **settings: Any) -> PseudoLabels:
    method = build(name, data, network, **settings)
    assert isinstance(method, PseudoLabels)
    return method


@pytest.mark.parametrize("name", EPOCHS)
def test_stopped_after_any_stage_it_ends_as_unbroken(name: str, tmp_path: Path) -> None:
    io: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    lengths = {"trusted_epochs": 2, "soft_epochs": 2, "soft_milestones": [1]}
    data, epochs = make_data(), EPOCHS[name] + 2
    whole = made(name, data, **lengths)
    fit(whole, data, epochs)
    for epoch in range(EPOCHS[name] - 2, epochs):
        folder = tmp_path / str(epoch)
        fit(made(name, data, **lengths), data, epoch, [RunCheckpoint(folder)], **io)
        again = made(name, data, **lengths)
        fit(again, data, epochs, [RunCheckpoint(folder)], folder / CHECKPOINT, **io)
        assert same_state(state(whole), state(again)), epoch


def test_rates_are_the_stages_own() -> None:
    data = make_data()
    lengths = {"trusted_epochs": 3, "soft_epochs": 2, "joint_epochs": 3}
    method = made("jnpl", data, **lengths, soft_rate=0.5, soft_milestones=[1])
    rates: list[float] = []
    started = method.on_train_epoch_start

    def on_train_epoch_start() -> None:
        started()
        rates.append(method.record["learning_rate"])

    method.on_train_epoch_start = on_train_epoch_start  # type: ignore[method-assign]
    fit(method, data, 9)
    # The schedule divides by ten after two epochs; it begins anew with each new network.
    expected = [0.1, 0.1, 0.01, 0.05, 0.005, 0.0005, 0.05, 0.005, 0.0005]
    assert rates == pytest.approx(expected)


def test_a_run_that_ends_with_a_stage_keeps_the_stage_s_networks() -> None:
    data, found = make_data(), []
    short, longer = (made("jnpl", data) for _ in range(2))
    longer.begin_stage = lambda name: found.append(state(longer.networks))  # type: ignore[method-assign]
    fit(short, data, 1)
    fit(longer, data, 2)
    assert same_state(found[0], state(short.networks))


# -- the ends of what may be selected -------------------------------------------------------------


@pytest.mark.parametrize("name", EPOCHS)
def test_where_nothing_is_trusted_it_says_so(name: str) -> None:
    data = make_data()
    method = made(name, data, cut=1.0)
    with pytest.raises(InputError, match=r"^0 of 60 samples are trusted after \d epochs, .*cut"):
        fit(method, data, EPOCHS[name])


@pytest.mark.parametrize("name", EPOCHS)
@pytest.mark.parametrize("cut", [0.0, 0.13])
def test_it_trains_on_all_and_on_less_than_a_batch(name: str, cut: float) -> None:
    data = make_data()
    method = made(name, data, lr=0.02, cut=cut)
    fit(method, data, EPOCHS[name])
    trusted = int(method.trusted.sum())
    assert trusted == 60 if cut == 0 else 2 <= trusted < 20
    assert method.record["loss"] < 10


@pytest.mark.parametrize("name", EPOCHS)
def test_a_class_of_one_sample_and_two_classes(name: str) -> None:
    for labels in (torch.tensor([3] + [4] * 29 + [5] * 30), torch.arange(60) % 2):
        classes = tuple(map(str, range(int(labels.max()) + 1)))
        data = make_data(source=FewDigits(labels=labels), noise=GivenAsTheyAre())
        settings = {"class_names": classes, "cut": 0.0}
        method = made(name, data, partial(TinyNet, len(classes)), **settings)
        fit(method, data, EPOCHS[name], limit_val_batches=0)
        assert all(p.isfinite().all() for p in method.parameters())


def test_nothing_selected_in_a_batch_is_no_loss() -> None:
    data = make_data()
    for name, stage in (("nlnl", "selective"), ("nlnl", "positive"), ("jnpl", "joint")):
        method = made(name, data, positive_mean="selected") if name == "jnpl" else made(name, data)
        batch = next(train_batches(data))
        method.trusted.zero_()
        z = torch.zeros(20, K, dtype=torch.float64, requires_grad=True)
        terms = method.learn(stage, z, batch)
        loss = terms["loss_positive" if name == "jnpl" else "loss_first"]
        assert float(loss.detach()) == 0
        assert not torch.autograd.grad(loss, z)[0].any()


# -- what is drawn, and what is told --------------------------------------------------------------


def test_complementary_labels_are_the_others_each_as_often() -> None:
    data = make_data()
    method = made("nlnl", data, complementary=20_000)
    batch = next(train_batches(data))
    counts = method.drawn(batch)
    given = batch.labels[:, None]
    assert not counts.gather(1, given).any()
    assert torch.equal(counts.sum(1), torch.full((20,), 20_000.0))
    others = counts.scatter(1, given, 20_000 / 9)
    assert (others - 20_000 / 9).abs().max() < 5 * (20_000 * 8 / 81) ** 0.5


def test_stages_are_marked_where_they_begin() -> None:
    stages = {"negative_epochs": 4, "selective_epochs": 0, "positive_epochs": 2}
    method = made("nlnl", make_data(), **stages, trusted_epochs=3, soft_epochs=1)
    begin = {"positive begins": 4, "trusted begins": 6, "soft begins": 9}
    assert method.events() == begin
    assert {f"{method.stage_of(e + 1)[0]} begins": e for e in begin.values()} == begin


def test_a_run_too_short_for_its_stages_is_told_so() -> None:
    method = JNPL(make_setting(make_data(("weak",))))
    assert method.advice(1960) is None
    said = method.advice(80)
    assert said is not None
    assert "take 1960 epochs (joint 1000, trusted 480, soft 480)" in said
    assert "ends in the stage joint" in said


def test_a_balanced_weight_is_of_the_largest_class() -> None:
    method = made("nlnl", make_data())
    labels = method.labels.tolist()
    counts = [labels.count(k) for k in range(K)]
    assert method.balance.tolist() == pytest.approx([max(counts) / n for n in counts])


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (NLNL, {"networks": 2}, "method.networks must be 1 for this method, got 2"),
        (NLNL, {"negative_epochs": 0}, "method.negative_epochs must be at least 1, got 0"),
        (NLNL, {"soft_epochs": -1}, "method.soft_epochs must be at least 0, got -1"),
        (NLNL, {"cut": 1.5}, r"method.cut must be in \[0, 1\], got 1.5"),
        (NLNL, {"complementary": 0}, "method.complementary must be at least 1, got 0"),
        (NLNL, {"remembered": 0}, "method.remembered must be at least 1, got 0"),
        (NLNL, {"soft_rate": 0.0}, "method.soft_rate must be over 0, got 0.0"),
        (JNPL, {"positive_strength": -1.0}, "method.positive_strength must be at least 0, got -1"),
        (JNPL, {"positive_order": -2}, "method.positive_order must be at least -1, got -2"),
        (JNPL, {"positive_label": "both"}, "must be one of agreed, given, predicted, got both"),
        (JNPL, {"positive_mean": "all"}, "must be one of batch, selected, got all"),
    ],
)
def test_settings_out_of_range_are_told(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(make_setting(make_data(("weak",))), **settings)
