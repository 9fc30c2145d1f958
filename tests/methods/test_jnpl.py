"""NLNL and JNPL, written again as plain loops over samples."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
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
    train_batches,
)

from pmnar.data import NoisyDataModule
from pmnar.methods import NLNL
from pmnar.methods.base import _build
from pmnar.methods.pseudo_labels import PseudoLabels

K = 10
DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)
EPOCHS = {"jnpl": 3, "nlnl": 5}
"""One of each stage."""


def made(name: str, data: NoisyDataModule, network: Any = DOUBLE, **settings: Any) -> PseudoLabels:
    method = build(name, data, network, **settings)
    assert isinstance(method, PseudoLabels)
    return method


def class_weights(labels: list[int]) -> list[float]:
    counts = [labels.count(k) for k in range(K)]
    return [max(counts) / n if n else 0.0 for n in counts]


class Reference:
    """Both methods in lists of numbers."""

    def __init__(self, data: NoisyDataModule, method: PseudoLabels, **settings: Any) -> None:
        self.data, self.settings = data, settings
        self.net = deepcopy(method.networks["first"])
        self.fresh = partial(_build, method._setting, "first")
        self.labels = data.splits["train"].labels.tolist()
        self.history: list[list[list[float]]] = []
        joint = settings.get("joint_epochs", 1)
        self.stages: tuple[Callable[..., Tensor], ...] = (self.joint,) * joint
        if isinstance(method, NLNL):
            self.stages = (self.negative, self.selective, self.positive)

    def train(self) -> None:
        optimizer = self.optimizer(0.1)
        for epoch, loss in enumerate(self.stages):
            if epoch == 2:
                optimizer.param_groups[0]["lr"] = 0.01
            seen: list[list[float]] = [[0.0] * K for _ in self.labels]
            self.epoch(epoch, optimizer, loss, seen)
            self.history = [*self.history, seen][-self.settings["remembered"] :]
        self.confidence = [self.mean(i)[y] for i, y in enumerate(self.labels)]
        self.trusted = [i for i, p in enumerate(self.confidence) if p >= self.settings["cut"]]
        done = len(self.stages)
        self.weights = class_weights([self.labels[i] for i in self.trusted])
        self.begin("trusted", done, self.taught)
        self.targets = self.said()
        self.weights = class_weights([int(t.argmax()) for t in self.targets])
        self.begin("soft", done + 1, self.soft)

    def optimizer(self, lr: float) -> torch.optim.SGD:
        return torch.optim.SGD(self.net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)

    def begin(self, stage: str, epoch: int, loss: Callable[..., Tensor]) -> None:
        self.net = self.fresh(stage)
        self.epoch(epoch, self.optimizer(0.1 * self.settings["soft_rate"]), loss, [])

    def epoch(
        self, epoch: int, optimizer: Any, loss: Callable[..., Tensor], seen: list[list[float]]
    ) -> None:
        for batch in train_batches(self.data, epoch):
            samples = batch.indices.tolist()
            p = [row.softmax(-1) for row in self.net(batch.views[0])]
            found = loss(samples, p, batch.share)
            for i, row in zip(samples, p, strict=True):
                if seen:
                    seen[i] = row.detach().tolist()
            optimizer.zero_grad()
            torch.autograd.backward(found)
            optimizer.step()

    def mean(self, i: int) -> list[float]:
        return [sum(h[i][k] for h in self.history) / len(self.history) for k in range(K)]

    def drawn(self, samples: list[int], share: Any) -> list[list[int]]:
        generator = share.generator("complementary label")
        size = (len(samples), self.settings["complementary"])
        offsets = torch.randint(1, K, size, generator=generator).tolist()
        return [
            [(self.labels[i] + o) % K for o in row] for i, row in zip(samples, offsets, strict=True)
        ]

    def negatives(self, samples: list[int], p: list[Tensor], share: Any) -> list[Tensor]:
        weights = class_weights(self.labels)
        return [
            weights[self.labels[i]] * torch.stack([-(1 - row[c]).log() for c in others]).sum()
            for i, row, others in zip(samples, p, self.drawn(samples, share), strict=True)
        ]

    def negative(self, samples: list[int], p: list[Tensor], share: Any) -> Tensor:
        return torch.stack(self.negatives(samples, p, share)).mean()

    def selective(self, samples: list[int], p: list[Tensor], share: Any) -> Tensor:
        rows = self.negatives(samples, p, share)
        kept = [
            row
            for i, row in zip(samples, rows, strict=True)
            if self.mean(i)[self.labels[i]] >= 1 / K
        ]
        return torch.stack(kept).mean()

    def positive(self, samples: list[int], p: list[Tensor], share: Any) -> Tensor:
        weights = class_weights(self.labels)
        found = [
            (weights[y], -row[y].log())
            for i, row in zip(samples, p, strict=True)
            if self.mean(i)[y := self.labels[i]] >= self.settings["cut"]
        ]
        mean: Tensor = torch.stack([w * v for w, v in found]).sum() / sum(w for w, _ in found)
        return mean

    def joint(self, samples: list[int], p: list[Tensor], share: Any) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        uniform = torch.rand(len(samples), generator=share.generator("selection")).tolist()
        drawn = self.drawn(samples, share)
        kept = 0
        positive = torch.zeros((), dtype=torch.float64)
        for i, row, others, u in zip(samples, p, drawn, uniform, strict=True):
            for c in others:
                total = total - float(1 - row[c].detach()) * (1 - row[c]).log()
            values = row.tolist()
            top = values.index(max(values))
            label = {"given": self.labels[i], "predicted": top, "agreed": top}[
                self.settings["positive_label"]
            ]
            sure = all(v < 1 / K for k, v in enumerate(values) if k != top) and u < values[top]
            if sure and (self.settings["positive_label"] != "agreed" or top == self.labels[i]):
                factor = 1.0
                for n in range(4):
                    factor *= 1 + values[label] ** (2**n)
                positive = positive - factor * row[label].log()
                kept += 1
        over = len(samples) if self.settings["positive_mean"] == "batch" else max(kept, 1)
        self.kept = kept
        found: Tensor = self.settings["positive_strength"] * positive / over
        return total / len(samples) + found

    def taught(self, samples: list[int], p: list[Tensor], share: Any) -> Tensor:
        assert set(samples) <= set(self.trusted)
        weights = [self.weights[self.labels[i]] for i in samples]
        rows = [
            -w * row[self.labels[i]].log() for w, i, row in zip(weights, samples, p, strict=True)
        ]
        mean: Tensor = torch.stack(rows).sum() / sum(weights)
        return mean

    @torch.no_grad()
    def said(self) -> Tensor:
        self.net.eval()
        batches = self.data.ordered_batches(torch.device("cpu"))
        return torch.cat([self.net(batch.views[0]).softmax(-1) for batch in batches])

    def soft(self, samples: list[int], p: list[Tensor], share: Any) -> Tensor:
        rows = [
            -self.weights[int(self.targets[i].argmax())] * (self.targets[i] * row.log()).sum()
            for i, row in zip(samples, p, strict=True)
        ]
        return torch.stack(rows).mean()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("nlnl", {"cut": 0.1, "complementary": 3}),
        ("jnpl", {"positive_label": "agreed", "positive_mean": "selected", "complementary": 4}),
        ("jnpl", {"positive_label": "given", "positive_mean": "batch", "complementary": 1}),
        (
            "jnpl",
            {
                "positive_label": "agreed",
                "positive_mean": "batch",
                "complementary": 1,
                "joint_epochs": 3,
            },
        ),
        ("jnpl", {"positive_label": "predicted", "positive_mean": "batch", "complementary": 1}),
    ],
)
def test_every_stage_equals_the_plain_loop(name: str, more: dict[str, Any]) -> None:
    """`cut` is where it tells some of the toy's samples from others."""
    settings: dict[str, Any] = {"cut": 0.1, "remembered": 2, "soft_rate": 0.5, **more}
    if name == "jnpl":
        settings["positive_strength"] = 0.3
    data = make_data(source=FewDigits(50))
    method = made(name, data, **settings)
    reference = Reference(data, method, **settings)
    fit(method, data, epochs=EPOCHS[name] + settings.get("joint_epochs", 1) - 1)
    reference.train()
    assert 2 < len(reference.trusted) < 48
    assert method.trusted.nonzero()[:, 0].tolist() == reference.trusted
    # What is remembered is float32 in the library.
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    expected = torch.tensor(reference.confidence)
    close(method.scores()["remembered"], expected)
    close(dict(method.networks["first"].state_dict()), dict(reference.net.state_dict()))
