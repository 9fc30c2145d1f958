"""O2U-Net: its stages written again as plain loops, its ranking, its rates."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from every import build
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from toy import (
    SEED,
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

from pmnar.data import NoisyDataModule
from pmnar.data.batches import Stream
from pmnar.errors import InputError
from pmnar.methods import O2U
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.run_folder import CHECKPOINT
from pmnar.runtime.seeding import derive_seed

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)
STAGES: dict[str, Any] = {"pretrain_epochs": 2, "cyclic_epochs": 3, "clean_epochs": 2}


class Reference:
    """One network, samples in lists: trained, ranked, trained."""

    def __init__(self, data: NoisyDataModule, net: nn.Module, settings: dict[str, Any]) -> None:
        self.data, self.net, self.settings = data, net, settings
        self.labels: list[int] = data.splits["train"].labels.tolist()
        self.kept = list(range(len(self.labels)))
        self.past: list[dict[int, float]] = []
        self.stream = {"train": Stream(torch.arange(len(self.labels)))}

    def train(self) -> None:
        self.data.streams = lambda _: self.stream
        everything = torch.arange(len(self.labels))
        self.stage(0, 2, None)
        pretrained = deepcopy(self.net.state_dict())
        self.stream = {"cyclic": Stream(everything, self.settings["cyclic_batch_size"])}
        self.stage(2, 3, self.settings["cycle"])
        self.rank()
        self.stream = {"clean": Stream(torch.tensor(self.kept))}
        if self.settings["clean_from"] == "pretrained":
            self.net.load_state_dict(pretrained)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(SEED, "initial weights", "first", "clean"))
                self.net.load_state_dict(DOUBLE().state_dict())
        self.stage(5, 2, None)

    def stage(self, first: int, epochs: int, cycle: int | None) -> None:
        """With a new optimiser, whose rate is .1, or goes in cycles from .2 to .05."""
        optimizer = torch.optim.SGD(self.net.parameters(), 0.1, 0.9, weight_decay=5e-4)
        for epoch in range(1, epochs + 1):
            if cycle:
                t = (epoch % cycle + 1) / cycle
                optimizer.param_groups[0]["lr"] = (1 - t) * 0.2 + t * 0.05
            seen: dict[int, float] = {}
            for batch in train_batches(self.data, first + epoch - 1):
                log_p = self.net(batch.views[0]).log_softmax(-1)
                losses = [-row[self.labels[i]] for row, i in self.rows(log_p, batch.indices)]
                for (_, i), loss in zip(self.rows(log_p, batch.indices), losses, strict=True):
                    seen[i] = float(loss.detach())
                optimizer.zero_grad()
                torch.autograd.backward(torch.stack(losses).mean())
                optimizer.step()
            if cycle:
                mean = sum(seen.values()) / len(seen)
                self.past.append({i: loss - mean for i, loss in seen.items()})

    @staticmethod
    def rows(found: Tensor, indices: Tensor) -> list[tuple[Tensor, int]]:
        return list(zip(found, indices.tolist(), strict=True))

    def rank(self) -> None:
        self.totals = [sum(p.get(i, 0.0) for p in self.past) for i in range(len(self.labels))]
        leave = round(self.settings["forget_rate"] * len(self.labels))
        order = sorted(range(len(self.labels)), key=lambda i: self.totals[i])
        self.kept = sorted(order[: len(order) - leave])


@pytest.mark.parametrize("clean_from", ["scratch", "pretrained"])
@pytest.mark.parametrize("size", [50, 49])
def test_three_stages_equal_the_plain_loop(clean_from: str, size: int) -> None:
    """Of 49 samples the second stage leaves out one an epoch: batches of 16 have no room for it."""
    settings: dict[str, Any] = {"forget_rate": 0.3, "cycle": 2, "cyclic_batch_size": 16}
    settings |= {"highest_rate": 2.0, "lowest_rate": 0.5, "clean_from": clean_from}
    data = make_data(source=FewDigits(size))
    method = build("o2u", data, DOUBLE, **STAGES, **settings)
    assert isinstance(method, O2U)
    net = deepcopy(method.networks["first"])
    fit(method, data, epochs=7)
    reference = Reference(data, net, settings)
    reference.train()
    assert method.kept.nonzero()[:, 0].tolist() == reference.kept
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(dict(method.networks["first"].state_dict()), dict(net.state_dict()))
    found = method.scores()
    close(found["normalised_loss"], torch.tensor(reference.totals) / 3)
    assert found["kept"].sum() == len(reference.kept)
    assert sum(size > len(past) for past in reference.past) == (3 if size == 49 else 0)


def test_what_is_subtracted_from_all_does_not_change_the_ranking() -> None:
    data = make_data()
    method = build("o2u", data)
    assert isinstance(method, O2U)
    generator, raw = torch.Generator().manual_seed(0), torch.zeros(SIZE)
    for epoch in (3, 4):
        losses = 5 * torch.rand(SIZE, generator=generator)
        raw += losses
        method.last.copy_(losses)
        method.prepare_epoch(epoch)
    assert torch.equal(method.normalised.argsort(), raw.argsort())
    assert float(method.normalised.sum()) == pytest.approx(0, abs=1e-4)
    assert method.kept.sum() == SIZE - 12
    assert raw[method.kept].max() < raw[~method.kept].min()


def test_with_nothing_forgotten_and_one_stage_it_is_cross_entropy() -> None:
    states = []
    for name, own in (("o2u", {"pretrain_epochs": 3}), ("ce", {})):
        data = make_data()
        method = build(name, data, **own)  # type: ignore[arg-type]
        fit(method, data, epochs=3)
        states.append(state(method.networks))
    assert same_state(*states)


def test_the_rate_goes_in_cycles() -> None:
    method = O2U(make_setting(make_data()))
    found = [method.rate_of(epoch) for epoch in (1, 5, 9, 10, 11, 19, 20)]
    assert found == pytest.approx([0.82, 0.46, 0.1, 0.91, 0.82, 0.1, 0.91])


@pytest.mark.parametrize(("one_in", "rate"), [(2, 0.5), (4, 0.25)])
def test_a_rate_that_nobody_tells_is_estimated(one_in: int, rate: float) -> None:
    method = build("o2u", make_data(), forget_rate="estimate")
    assert isinstance(method, O2U)
    wrong = torch.arange(SIZE) % one_in == 0
    method.last.copy_(wrong + 0.2 * torch.rand(SIZE, generator=torch.Generator().manual_seed(0)))
    method.prepare_epoch(3)
    assert method.record["forget_rate"] == pytest.approx(rate, abs=0.02)
    assert torch.equal(method.kept, ~wrong)


@pytest.mark.parametrize("forget_rate", [0.0, "estimate"])
def test_losses_that_are_equal_leave_every_sample(forget_rate: Any) -> None:
    method = build("o2u", make_data(), forget_rate=forget_rate)
    assert isinstance(method, O2U)
    assert method.scores() == {}
    method.last.fill_(2.3)
    method.prepare_epoch(3)
    assert method.kept.all()
    assert not method.scores()["normalised_loss"].any()


def test_too_few_that_are_left_are_told() -> None:
    """Before anything is trained where the rate is told."""
    data = make_data()
    message = r"method.forget_rate=0.99 leaves 1 of 60 samples, too few to train on: lower it"
    with pytest.raises(InputError, match=message):
        build("o2u", data, forget_rate=0.99)
    method = build("o2u", data, forget_rate="estimate")
    assert isinstance(method, O2U)
    method.kept.fill_(False)
    with pytest.raises(InputError, match=r"0 of 60 samples .* tell a lower method.forget_rate"):
        method.streams(4)


class Rates(Callback):
    """Keeps every epoch's learning rate."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, O2U)
        self.rates.append(pl_module.record["learning_rate"])


def test_the_last_stage_s_rate_falls_where_it_is_told_to() -> None:
    """The toys' schedule divides it by ten after two epochs, and begins anew."""
    data, rates = make_data(), Rates()
    stages: dict[str, Any] = {"pretrain_epochs": 3, "cyclic_epochs": 2, "clean_epochs": 4}
    method = build("o2u", data, **stages, cycle=2, clean_milestones=[1, 3])
    fit(method, data, epochs=9, callbacks=[rates])
    expected = [0.1, 0.1, 0.01, 0.01, 0.055, 0.1, 0.01, 0.001, 0.0001]
    assert rates.rates == pytest.approx(expected)


def test_stopped_after_any_epoch_it_goes_on_from_the_first_stage_s_network(
    tmp_path: Path,
) -> None:
    io: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    data, settings = make_data(), {"clean_from": "pretrained", "forget_rate": "estimate"}
    whole = build("o2u", data, TinyNet, 0.1, **settings)
    fit(whole, data, 4)
    for epoch in (1, 2, 3):
        folder = tmp_path / str(epoch)
        fit(
            build("o2u", data, TinyNet, 0.1, **settings), data, epoch, [RunCheckpoint(folder)], **io
        )
        again = build("o2u", data, TinyNet, 0.1, **settings)
        fit(again, data, 4, [RunCheckpoint(folder)], folder / CHECKPOINT, **io)
        assert same_state(state(whole), state(again)), epoch


@pytest.mark.parametrize("classes", [1, 2, 9])
def test_of_few_classes_and_of_one_without_images(classes: int) -> None:
    """Two are all that the network knows of, where there are two."""
    given = FewDigits(labels=torch.arange(SIZE) % classes)
    data = make_data(source=given, noise=GivenAsTheyAre())
    names = ("a", "b") if classes == 2 else data.class_names
    net = partial(TinyNet, num_classes=len(names))
    method = build("o2u", data, net, class_names=names, forget_rate="estimate")
    fit(method, data, epochs=4, limit_val_batches=0)
    assert method.scores()["normalised_loss"].isfinite().all()


def test_it_says_what_it_does_not_come_to_and_which_rate_it_goes_by() -> None:
    setting = make_setting(make_data())
    told = O2U(setting, forget_rate=0.45, **STAGES).advice(6)
    assert told is not None
    assert "the run ends in the stage clean" in told
    assert "45.0% of the samples are left out" in told
    method = O2U(setting, forget_rate="estimate", **STAGES)
    assert method.advice(7) is None
    assert method.events() == {"cyclic begins": 2, "clean begins": 5}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for O2U-Net, got 2"),
        ({"forget_rate": 1.0}, r"method.forget_rate must be in \[0, 1\) or estimate, got 1.0"),
        ({"forget_rate": "half"}, r"method.forget_rate must be in \[0, 1\) or estimate, got half"),
        ({"pretrain_epochs": 0}, "method.pretrain_epochs must be at least 1, got 0"),
        ({"cyclic_epochs": 0}, "method.cyclic_epochs must be at least 1, got 0"),
        ({"clean_epochs": -1}, "method.clean_epochs must be at least 0, got -1"),
        ({"cycle": 0}, "method.cycle must be at least 1, got 0"),
        ({"highest_rate": 0.0}, "method.highest_rate must be over 0, got 0.0"),
        ({"lowest_rate": -1.0}, "method.lowest_rate must be over 0, got -1.0"),
        ({"cyclic_batch_size": 1}, "method.cyclic_batch_size must be at least 2, got 1"),
        ({"clean_milestones": 5}, "method.clean_milestones must be a list, got 5"),
        ({"clean_milestones": [0]}, "method.clean_milestones must be at least 1, got 0"),
        ({"clean_from": "best"}, "method.clean_from must be scratch or pretrained, got best"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        O2U(make_setting(make_data(("weak",))), **settings)
