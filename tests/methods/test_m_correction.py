"""M-correction: closed forms, and its variants written again as plain loops over samples."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from every import build
from mixmatch import NORMALIZE
from ranks import Gradients, forked
from torch import Tensor, nn
from toy import (
    SIZE,
    FewDigits,
    GivenAsTheyAre,
    NoNorm,
    TinyNet,
    fit,
    make_data,
    make_setting,
    same_state,
    state,
    train_batches,
)

from pmnar.data import Batch, NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import MCorrection
from pmnar.methods.mixing import Mixing
from pmnar.samples.beta_mixture import BetaMixture

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)
VARIANTS = ("M-DYR-H", "M-DYR-S", "MD-DYR-SH")


class Reference:
    """One network, in lists of numbers: MixUp, then corrected labels."""

    def __init__(self, data: NoisyDataModule, net: nn.Module, settings: dict[str, Any]) -> None:
        self.data, self.net, self.settings = data, net, settings
        self.labels: list[int] = data.splits["train"].labels.tolist()
        self.optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=5e-4)
        self.mixture = BetaMixture()

    def train(self, epochs: int) -> None:
        for epoch in range(1, epochs + 1):
            for batch in train_batches(self.data, epoch - 1):
                self.optimizer.zero_grad()
                torch.autograd.backward(self.loss(batch, epoch))
                self.optimizer.step()
            if epoch == 2:
                self.optimizer.param_groups[0]["lr"] /= 10
            if epoch + 1 > self.settings["warmup_epochs"]:
                self.fit()

    @torch.no_grad()
    def fit(self) -> None:
        self.net.eval()
        images = self.data.splits["train"].images
        z = [self.net(NORMALIZE(images[i : i + 1]))[0] for i in range(len(images))]
        self.net.train()
        losses = [-row.log_softmax(-1)[y] for row, y in zip(z, self.labels, strict=True)]
        self.mixture.fit(torch.stack(losses))

    @torch.no_grad()
    def noisy(self, images: Tensor, labels: list[int]) -> list[float]:
        self.net.eval()
        z = self.net(images)
        self.net.train()
        losses = [-row.log_softmax(-1)[y] for row, y in zip(z, labels, strict=True)]
        return self.mixture.noisy_probability(torch.stack(losses)).tolist()

    @torch.no_grad()
    def guess(self, images: Tensor, since: int) -> list[list[float]]:
        """What the network says of images that are not mixed, so many epochs since."""
        z, variant = self.net(images), self.settings["variant"]
        if variant == "M-DYR-H":
            return [[float(k == int(row.argmax())) for k in range(10)] for row in z]
        last = self.settings["hardening_epochs"] - 1
        cold = torch.linspace(1, 0.001, last + 1, dtype=torch.float64)[min(since, last)]
        temperature = float(cold) if variant == "MD-DYR-SH" else 1.0
        rows: list[list[float]] = (z / temperature).softmax(-1).tolist()
        return rows

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        assert batch.share is not None
        mixing, images = Mixing([batch.share], self.settings["alpha"]), batch.views[0].double()
        order = mixing.partners([torch.arange(len(images))]).tolist()
        labels, weight = batch.labels.tolist(), float(mixing.weight)
        of_images = [weight] * len(images)
        dynamic = self.settings["variant"] == "MD-DYR-SH"
        warm = epoch <= self.settings["warmup_epochs"]
        since = epoch - 1 - self.settings["warmup_epochs"]
        since -= self.settings["dynamic_epochs"] if dynamic else 0
        corrects = since >= 0
        noisy = [0.0] * len(images) if warm else self.noisy(images, labels)
        if dynamic and not warm:
            of_images = [
                (1 - noisy[i]) / ((1 - noisy[i]) + (1 - noisy[j])) for i, j in enumerate(order)
            ]
        guess = self.guess(images, since) if corrects else [[0.0] * 10] * len(images)
        mixed = [of_images[i] * images[i] + (1 - of_images[i]) * images[j] for i, j in pairs(order)]
        p = self.net(torch.stack(mixed)).softmax(-1)

        def corrected(row: int, label_of: int) -> Tensor:
            """Of a mixed image, with the label and the guess of one of the two."""
            wrong = noisy[label_of] if corrects else 0.0
            said = sum(q * p[row, k].log() for k, q in enumerate(guess[label_of]) if q)
            found: Tensor = -(1 - wrong) * p[row, labels[label_of]].log() - wrong * said
            return found

        first = torch.stack([corrected(i, i) for i, _ in pairs(order)]).mean()
        second = torch.stack([corrected(i, j) for i, j in pairs(order)]).mean()
        share = 0.5 if dynamic and corrects else weight
        loss: Tensor = share * first + (1 - share) * second
        if corrects:
            for k in range(10):
                loss = loss + self.settings["prior_strength"] * 0.1 * (0.1 / p[:, k].mean()).log()
        return loss


def pairs(order: list[int]) -> list[tuple[int, int]]:
    return list(enumerate(order))


@pytest.mark.parametrize("variant", VARIANTS)
def test_four_epochs_equal_the_plain_loop(variant: str) -> None:
    settings: dict[str, Any] = {"variant": variant, "alpha": 3.0, "prior_strength": 0.7}
    settings |= {"warmup_epochs": 1, "dynamic_epochs": 1, "hardening_epochs": 3}
    data = make_data(source=FewDigits(50))
    method = build("m_correction", data, DOUBLE, **settings)
    assert isinstance(method, MCorrection)
    net = deepcopy(method.networks["first"])
    fit(method, data, epochs=4)
    reference = Reference(data, net, settings)
    reference.train(4)
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(dict(method.networks["first"].state_dict()), dict(net.state_dict()))
    close(method.mixture.table, reference.mixture.table)
    assert method.mixture.table.any()
    assert method.record["clean"] == pytest.approx(float(method.clean.mean()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_until_it_corrects_it_is_mixup(variant: str) -> None:
    states = []
    of_own: dict[str, Any] = {"variant": variant, "warmup_epochs": 3}
    for name, own in (("m_correction", of_own), ("mixup", {})):
        data = make_data()
        method = build(name, data, alpha=2.0, **own)
        fit(method, data, epochs=3)
        states.append(state(method.networks))
        if isinstance(method, MCorrection):
            assert method.scores().keys() == {"clean_probability"}, "of the end of the warm-up"
            last = {"correction begins": 4} if variant == "MD-DYR-SH" else {}
            assert method.events() == {"warm-up ends": 3, **last}
    assert same_state(*states)


@pytest.mark.parametrize("wrong", [False, True])
def test_labels_all_right_stay_and_labels_all_wrong_go(
    monkeypatch: pytest.MonkeyPatch, wrong: bool
) -> None:
    """But for the 1e-4 that are always left of either."""
    data = make_data(("weak",))
    method = build("m_correction", data, DOUBLE, warmup_epochs=0, prior_strength=0.0)
    assert isinstance(method, MCorrection)
    monkeypatch.setattr(MCorrection, "current_epoch", 1)
    method.mixture.table.fill_(float(wrong))
    batch = next(train_batches(data))
    share = batch.share
    assert share is not None
    mixing = Mixing([share], 32.0)
    guess = method._guess(batch)
    before = deepcopy(method.networks["first"])
    found = method.losses(batch)["first"]["loss_first"]
    target = guess if wrong else torch.eye(10)[batch.labels]
    [z] = [before(mixing(batch.views))]
    expected = -(mixing([target.double()]) * z.log_softmax(-1)).sum(-1)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


def test_predictions_harden_and_stay_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"warmup_epochs": 2, "dynamic_epochs": 1, "hardening_epochs": 5}
    setting = make_setting(make_data())
    found: dict[str, list[float]] = {}
    for variant in VARIANTS:
        method = MCorrection(setting, variant=variant, **settings)
        found[variant] = []
        for epoch in (3, 5, 7, 20):
            monkeypatch.setattr(MCorrection, "current_epoch", epoch)
            found[variant].append(method.temperature)
    assert found["MD-DYR-SH"] == pytest.approx([1, 0.5005, 0.001, 0.001])
    assert found["M-DYR-S"] == [1, 1, 1, 1]
    at_once = MCorrection(setting, variant="MD-DYR-SH", warmup_epochs=2, hardening_epochs=1)
    assert at_once.temperature == pytest.approx(0.001)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("labels", ["one class", "two classes", "one class without images"])
def test_classes_that_are_few_or_empty(variant: str, labels: str) -> None:
    given = {
        "one class": torch.zeros(SIZE, dtype=torch.int64),
        "two classes": torch.arange(SIZE) % 2,
        "one class without images": torch.arange(SIZE) % 9,
    }[labels]
    data = make_data(source=FewDigits(labels=given), noise=GivenAsTheyAre())
    method = build("m_correction", data, variant=variant)
    fit(method, data, epochs=4)
    assert all(value.isfinite().all() for value in method.networks.state_dict().values())
    [clean] = method.scores().values()
    assert ((clean >= 0) & (clean <= 1)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_of_two_classes(variant: str) -> None:
    data = make_data(source=FewDigits(labels=torch.arange(SIZE) % 2), noise=GivenAsTheyAre())
    two = partial(TinyNet, num_classes=2)
    method = build("m_correction", data, two, variant=variant, class_names=("a", "b"))
    fit(method, data, epochs=3, limit_val_batches=0)
    assert method.record["loss"] > 0


@pytest.mark.ddp
def test_pairs_are_weighed_alike_on_two_ranks(tmp_path: Path) -> None:
    """Of the default variant `test_every_method` says so."""
    for world in (1, 2):
        data = make_data(source=FewDigits(59))
        own: dict[str, Any] = {"variant": "MD-DYR-SH"}
        method = build("m_correction", data, NoNorm, lr=0.01, **own)
        fit(method, data, 4, [Gradients(tmp_path)], **forked(world))
    one, *two = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1")
    )
    for mine in two:
        torch.testing.assert_close(mine["steps"], one["steps"], rtol=0, atol=1e-6)


def test_it_says_that_a_run_ends_before_it_corrects() -> None:
    setting = make_setting(make_data())
    method = MCorrection(setting, variant="MD-DYR-SH", warmup_epochs=10, dynamic_epochs=5)
    told = method.advice(15)
    assert told is not None
    assert "after 15 epochs, and trainer.max_epochs is 15" in told
    assert method.advice(16) is None
    assert MCorrection(setting, warmup_epochs=10).advice(11) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for M-correction, got 2"),
        (
            {"variant": "hard"},
            "method.variant must be one of M-DYR-H, M-DYR-S, MD-DYR-SH, got hard",
        ),
        ({"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
        ({"dynamic_epochs": -1}, "method.dynamic_epochs must be at least 0, got -1"),
        ({"hardening_epochs": 0}, "method.hardening_epochs must be at least 1, got 0"),
        ({"alpha": 0.0}, "method.alpha must be over 0, got 0.0"),
        ({"prior_strength": -1.0}, "method.prior_strength must be at least 0, got -1.0"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MCorrection(make_setting(make_data(("weak",))), **settings)
