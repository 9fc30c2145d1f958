"""DISC: its sets and thresholds, and all of it written again as plain loops over samples."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
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
from pmnar.errors import InputError
from pmnar.methods import DISC
from pmnar.methods.disc import CLEAN, HARD, NOTHING, PURIFIED
from pmnar.methods.mixing import Mixing

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)
VIEWS = ("weak", "strong")
SETTINGS: dict[str, Any] = {"memory": 0.5, "margin": 0.03, "limit": 0.9}
SETTINGS |= {"hard_strength": 0.6, "q": 0.5, "alpha": 2.0, "warmup_epochs": 1}


class Reference:
    """One network, in lists of numbers."""

    def __init__(self, data: NoisyDataModule, net: nn.Module) -> None:
        self.data, self.net = data, net
        self.labels: list[int] = data.splits["train"].labels.tolist()
        size = len(self.labels)
        self.thresholds = {view: [1 / size] * size for view in VIEWS}
        self.sets = ["clean"] * size
        self.guess = list(self.labels)
        self.seen: list[set[str]] = []
        self.optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=5e-4)

    def train(self, epochs: int) -> None:
        for epoch in range(1, epochs + 1):
            self.said: dict[int, dict[str, list[float]]] = {}
            for batch in train_batches(self.data, epoch - 1):
                self.optimizer.zero_grad()
                torch.autograd.backward(self.loss(batch, epoch))
                self.optimizer.step()
            if epoch == 2:
                self.optimizer.param_groups[0]["lr"] /= 10
            self.select()

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        members, size = batch.indices.tolist(), len(batch.indices)
        p: Tensor = self.net(torch.cat(batch.views)).softmax(-1)
        of_views = dict(zip(VIEWS, (p[:size], p[size:]), strict=True))
        for row, i in enumerate(members):
            self.said[i] = {view: each[row].tolist() for view, each in of_views.items()}
        loss, q = p.new_zeros(()), float(SETTINGS["q"])
        for each in of_views.values():
            for row, i in enumerate(members):
                given = each[row, self.labels[i]]
                if epoch <= SETTINGS["warmup_epochs"] or self.sets[i] == "clean":
                    loss = loss - given.log() / size
                elif self.sets[i] == "hard":
                    loss = loss + float(SETTINGS["hard_strength"]) * (1 - given**q) / q / size
        if epoch <= SETTINGS["warmup_epochs"]:
            return loss
        for view, images in zip(VIEWS, batch.views, strict=True):
            loss = loss + self.mixed(view, images.double(), batch, members)
        return loss

    def mixed(self, view: str, images: Tensor, batch: Batch, members: list[int]) -> Tensor:
        assert batch.share is not None
        chosen = [self.sets[i] != "none" for i in members]
        mixing = Mixing(
            [batch.share], 2.0, larger=True, purpose=f"mixing {view}", among=torch.tensor(chosen)
        )
        order = mixing.partners([torch.arange(len(members))]).tolist()
        weight = float(mixing.weight)
        rows = [weight * images[i] + (1 - weight) * images[j] for i, j in enumerate(order)]
        log_p, found = self.net(torch.stack(rows)).log_softmax(-1), images.new_zeros(())
        for i, j in enumerate(order):
            for row, share in ((i, weight), (j, 1 - weight)):
                sample = members[row]
                is_guess = self.sets[sample] == "purified"
                label = self.guess[sample] if is_guess else self.labels[sample]
                if chosen[i]:
                    found = found - share * log_p[i, label] / sum(chosen)
        return found

    def select(self) -> None:
        """Of what was shown: first the sets, then the thresholds."""
        self.seen.append(set())
        for i, said in self.said.items():
            over = [said[view][self.labels[i]] > self.thresholds[view][i] for view in VIEWS]
            mean = [(a + b) / 2 for a, b in zip(*said.values(), strict=True)]
            enough = sum(self.thresholds[view][i] for view in VIEWS) / 2 + SETTINGS["margin"]
            self.guess[i] = max(range(10), key=lambda k: mean[k])
            purified = "purified" if max(mean) > min(enough, SETTINGS["limit"]) else "none"
            self.sets[i] = "clean" if all(over) else "hard" if any(over) else purified
            self.seen[-1].add(self.sets[i])
            for view in VIEWS:
                before, m = self.thresholds[view][i], SETTINGS["memory"]
                self.thresholds[view][i] = m * before + (1 - m) * max(said[view])


@pytest.mark.parametrize("size", [60, 41])
def test_five_epochs_equal_the_plain_loop(size: int) -> None:
    """Of 41 samples an epoch leaves out one, which keeps what it was."""
    data = make_data(source=FewDigits(size))
    method = build("disc", data, DOUBLE, **SETTINGS)
    assert isinstance(method, DISC)
    net = deepcopy(method.networks["first"])
    fit(method, data, epochs=5)
    reference = Reference(data, net)
    reference.train(5)
    numbers = {"none": NOTHING, "clean": CLEAN, "hard": HARD, "purified": PURIFIED}
    assert method.sets.tolist() == [numbers[each] for each in reference.sets]
    assert set.union(*reference.seen[1:4]) == set(numbers), "each has been trained on"
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(dict(method.networks["first"].state_dict()), dict(net.state_dict()))
    close(method.thresholds, torch.tensor([reference.thresholds[view] for view in VIEWS]))
    assert method.record["clean"] == reference.sets.count("clean") / size
    confirmed = {"none": 0.0, "clean": 1.0, "hard": 0.5, "purified": 0.0}
    assert method.scores()["confirmed"].tolist() == [confirmed[each] for each in reference.sets]


def at_work(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[DISC, Batch]:
    """A method beyond its warm-up, and a batch."""
    data = make_data()
    method = build("disc", data, DOUBLE, **settings)
    assert isinstance(method, DISC)
    monkeypatch.setattr(DISC, "current_epoch", 5)
    return method, next(train_batches(data))


def test_where_nothing_is_in_a_set_nothing_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = at_work(monkeypatch)
    method.sets.fill_(NOTHING)
    loss = torch.stack([each.sum() for each in method.losses(batch)["first"].values()]).sum()
    assert float(loss.detach()) == 0
    gradients = torch.autograd.grad(loss, list(method.networks.parameters()))
    assert not any(each.any() for each in gradients)


def test_clean_labels_are_learnt_and_purified_ones_are_the_prediction_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, batch = at_work(monkeypatch)
    z = deepcopy(method.networks["first"])(torch.cat(batch.views))
    log_p = z.log_softmax(-1)[torch.arange(40), batch.labels.repeat(2)]
    found = method.losses(batch)["first"]
    torch.testing.assert_close(found["loss_first"], -(log_p[:20] + log_p[20:]))
    assert not found["loss_hard"].any()
    method.sets.fill_(PURIFIED)
    other = deepcopy(method)
    purified = method.losses(batch)["first"]
    assert not purified["loss_first"].any()
    assert not purified["loss_hard"].any()
    changed = other.losses(batch._replace(labels=torch.zeros_like(batch.labels)))["first"]
    assert torch.equal(changed["loss_mixed"], purified["loss_mixed"]), "no given label matters"


def test_the_warm_up_is_cross_entropy_of_both_views(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = at_work(monkeypatch, warmup_epochs=6)
    clean = deepcopy(method)
    [(_, found)] = method.losses(batch)["first"].items()
    clean.warmup_epochs = 0
    torch.testing.assert_close(found, clean.losses(batch)["first"]["loss_first"])


def sets_of(confidence: float, top: float, threshold: float, **settings: Any) -> int:
    """Where a sample goes of which both views say the same."""
    method = DISC(make_setting(make_data()), **settings)
    method.thresholds.fill_(threshold)
    method.confidence.fill_(confidence)
    method.top.fill_(top)
    method.sureness.fill_(top)
    method.prepare_epoch(9)
    assert (method.sets == method.sets[0]).all()
    expected = settings["memory"] * threshold + (1 - settings["memory"]) * top
    torch.testing.assert_close(method.thresholds, torch.full((2, SIZE), expected))
    return int(method.sets[0])


@pytest.mark.parametrize(
    ("confidence", "top", "threshold", "expected"),
    [
        (0.6, 0.6, 0.5, CLEAN),
        (0.5, 0.5, 0.5, NOTHING),
        (0.1, 0.85, 0.5, NOTHING),
        (0.1, 0.85, 0.3, PURIFIED),
        (0.1, 0.95, 0.5, PURIFIED),
    ],
)
def test_thresholds_decide(confidence: float, top: float, threshold: float, expected: int) -> None:
    """A prediction is enough at .5 over the threshold, or at .9."""
    found = sets_of(confidence, top, threshold, memory=0.9, margin=0.5, limit=0.9)
    assert found == expected


def test_what_an_epoch_does_not_show_stays() -> None:
    method = DISC(make_setting(make_data()))
    before = state(method)
    method.prepare_epoch(9)
    assert same_state(before, state(method))


@pytest.mark.parametrize("classes", [1, 2, 9])
def test_of_few_classes_and_of_one_without_images(classes: int) -> None:
    """Two are all that the network knows of, where there are two."""
    given = FewDigits(labels=torch.arange(SIZE) % classes)
    data = make_data(source=given, noise=GivenAsTheyAre())
    names = ("a", "b") if classes == 2 else data.class_names
    net = partial(TinyNet, num_classes=len(names))
    method = build("disc", data, net, class_names=names)
    fit(method, data, epochs=3, limit_val_batches=0)
    assert all(value.isfinite().all() for value in method.state_dict().values())


def test_it_says_that_a_run_ends_within_its_warm_up() -> None:
    method = DISC(make_setting(make_data()), warmup_epochs=10)
    told = method.advice(10)
    assert told is not None
    assert "method.warmup_epochs=10 is not below trainer.max_epochs=10" in told
    assert method.advice(11) is None
    assert method.events() == {"warm-up ends": 10}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for DISC, got 2"),
        ({"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
        ({"memory": 1.0}, r"method.memory must be in \[0, 1\), got 1.0"),
        ({"margin": -0.1}, "method.margin must be at least 0, got -0.1"),
        ({"limit": 1.1}, r"method.limit must be in \[0, 1\], got 1.1"),
        ({"hard_strength": -1.0}, "method.hard_strength must be at least 0, got -1.0"),
        ({"q": 0.0}, r"method.q must be in \(0, 1\], got 0.0"),
        ({"alpha": 0.0}, "method.alpha must be over 0, got 0.0"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DISC(make_setting(make_data(("weak",))), **settings)
