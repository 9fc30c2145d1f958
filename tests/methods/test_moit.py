"""MOIT and MOIT+, written again as plain loops over images, in float64."""

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from math import log
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from toy import FewDigits, TinyNet, fit, make_data, train_batches

from pmnar.augment import Normalize
from pmnar.data import Batch, NoisyDataModule
from pmnar.data.batches import Stream
from pmnar.methods import MOIT
from pmnar.methods.base import _build
from pmnar.methods.mixing import Mixing
from pmnar.networks.projected import ProjectedNetwork

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)
NORMALIZE = Normalize([0.3057], [0.3760])
K = 10


class Reference:
    """One network, a memory of what it projected lately, and what it thinks of each label."""

    def __init__(self, data: NoisyDataModule, method: MOIT, settings: dict[str, Any]) -> None:
        self.data, self.settings = data, settings
        net = deepcopy(method.networks["first"])
        assert isinstance(net, ProjectedNetwork)
        self.net, self.fresh = net, partial(_build, method._setting, "first")
        self.labels: list[int] = data.splits["train"].labels.tolist()
        self.clean = [True] * len(self.labels)
        self.agreement = [0.0] * len(self.labels)
        self.memory: deque[tuple[Tensor, int]] = deque(maxlen=2 * K * settings["memory"])

    def train(self, epochs: int) -> None:
        self.begin(0.1)
        for epoch in range(epochs):
            for batch in train_batches(self.data, epoch):
                self.step(self.loss(batch, epoch))
            if epoch == 1:
                self.optimizer.param_groups[0]["lr"] /= 10
            self.ask_neighbours()

    def train_further(self, epochs: int, done: int) -> None:
        """MOIT+: a head anew, and mixtures of what is clean."""
        head, fresh = self.net.head, self.fresh("plus")
        assert isinstance(fresh, ProjectedNetwork)
        head.load_state_dict(fresh.head.state_dict())
        self.begin(0.1 * self.settings["plus_rate"])
        chosen = [i for i, c in enumerate(self.clean) if c]
        self.data.streams = lambda epoch: {"clean": Stream(torch.tensor(chosen))}
        for epoch in range(epochs):
            for batch in train_batches(self.data, done + epoch):
                assert set(batch.indices.tolist()) <= set(chosen)
                self.step(self.loss_further(batch, epoch))

    def begin(self, lr: float) -> None:
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4
        )

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        for parameter in self.net.parameters():
            if parameter.grad is None:  # what idles decays all the same
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    # -- losses -----------------------------------------------------------------------------------

    def loss(self, batch: Batch, epoch: int) -> Tensor:
        given = [self.labels[i] for i in batch.indices.tolist()]
        guess = self.said_of(batch.views[2]) if epoch >= self.settings["guess_after"] else None
        classified, anchors = [], []
        for view in (0, 1):
            weight, order, mixed = mixed_by(batch, view, f"mixing {view}")
            features = self.net.features(mixed)
            log_p = self.net.head(features).log_softmax(-1)
            rows = self.net.projection(features)
            for row, (i, partner) in enumerate(zip(batch.indices.tolist(), order, strict=True)):
                j = int(batch.indices[partner])
                guesses = None if guess is None else (guess[row], guess[partner])
                classified.append(self.classified(log_p[row], weight, i, j, guesses))
                point = rows[row] / rows[row].square().sum().sqrt()
                anchors.append((point, weight, given[row], given[partner]))
        loss: Tensor = torch.stack(classified).mean()
        points = [(point, label) for point, _, label, _ in anchors]
        loss = loss + self.compared(anchors, points, list(range(len(points))))
        self.memory.extend((point.detach(), label) for point, label in points)
        if epoch >= self.settings["memory_after"]:
            # The newest are at its end; those that it had no room for are nowhere.
            first = len(self.memory) - len(points)
            loss = loss + self.compared(anchors, list(self.memory), range(first, first + 99))
        return loss

    def classified(
        self, log_p: Tensor, weight: float, i: int, j: int, guesses: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        first, second = -log_p[self.labels[i]], -log_p[self.labels[j]]
        if guesses is None:
            return weight * first + (1 - weight) * second
        of_first, of_second = (-sum(q[k] * log_p[k] for k in range(K)) for q in guesses)
        c, d = float(self.clean[i]), float(self.clean[j])
        trusted = d if self.settings["symmetric_clean"] else c
        loss: Tensor = weight * (c * first + (1 - c) * of_first)
        return loss + (1 - weight) * (trusted * second + (1 - d) * of_second)

    def compared(
        self,
        anchors: list[tuple[Tensor, float, int, int]],
        others: list[tuple[Tensor, int]],
        itself: Any,
    ) -> Tensor:
        losses = []
        for (anchor, weight, *labels), own in zip(anchors, itself, strict=False):
            alike = {
                j: (anchor * point).sum() / self.settings["temperature"]
                for j, (point, _) in enumerate(others)
                if j != own
            }
            total = torch.stack([each.exp() for each in alike.values()]).sum().log()
            loss = torch.zeros((), dtype=torch.float64)
            for share, label in zip((weight, 1 - weight), labels, strict=True):
                positive = [alike[j] - total for j in alike if others[j][1] == label]
                if positive:
                    loss = loss - share * torch.stack(positive).mean()
            losses.append(loss)
        assert len(losses) == len(anchors)
        return torch.stack(losses).mean()

    def loss_further(self, batch: Batch, epoch: int) -> Tensor:
        given = [self.labels[i] for i in batch.indices.tolist()]
        weight, order, mixed = mixed_by(batch, self.settings["weak"], "mixing")
        said: list[int] | None = None
        if epoch >= self.settings["bootstrap_after"]:
            said = self.said_of(batch.views[2]).argmax(-1).tolist()
        log_p, losses = self.net(mixed).log_softmax(-1), []
        for row, partner in enumerate(order):
            for share, of in ((weight, row), (1 - weight, partner)):
                loss = -log_p[row, given[of]]
                if said is not None:
                    part = self.settings["bootstrap"]
                    loss = (1 - part) * loss - part * log_p[row, said[of]]
                losses.append(share * loss)
        return torch.stack(losses).sum() / len(order)

    @torch.no_grad()
    def said_of(self, images: Tensor) -> Tensor:
        """In train mode, whose statistics it moves."""
        p: Tensor = self.net(images).softmax(-1)
        return p

    # -- neighbours -------------------------------------------------------------------------------

    @torch.no_grad()
    def ask_neighbours(self) -> None:
        self.net.eval()
        points = []
        for image in self.data.splits["train"].images:
            row = self.net.projection(self.net.features(NORMALIZE(image[None])))[0]
            points.append(row / row.square().sum().sqrt())
        self.net.train()
        asked = []
        for i, point in enumerate(points):
            alike = [float(point @ other) for other in points]
            others = sorted((j for j in range(len(points)) if j != i), key=lambda j: -alike[j])
            asked.append(others[: self.settings["neighbours"]])
        first = [shares_of(self.labels, of) for of in asked]
        corrected = [shares.index(max(shares)) for shares in first]
        second = [shares_of(corrected, of) for of in asked]
        self.agreement = [s[y] for s, y in zip(second, self.labels, strict=True)]
        agree = [s.index(max(s)) == y for s, y in zip(second, self.labels, strict=True)]
        members = {k: [i for i, y in enumerate(self.labels) if y == k] for k in set(self.labels)}
        counts = sorted(sum(agree[i] for i in of) for of in members.values() if len(of) > 1)
        number = counts[(len(counts) - 1) // 2]
        distance = [-log(min(max(share, 0.01), 0.99)) for share in self.agreement]
        kept = {
            i for of in members.values() for i in sorted(of, key=lambda i: distance[i])[:number]
        }
        self.clean = [i in kept for i in range(len(self.labels))]


def shares_of(labels: list[int], of: list[int]) -> list[float]:
    return [sum(labels[j] == k for j in of) / len(of) for k in range(K)]


def mixed_by(batch: Batch, view: int, purpose: str) -> tuple[float, list[int], Tensor]:
    """λ, each image's partner, and the mixed images."""
    assert batch.share is not None
    mixing = Mixing([batch.share], 1.0, larger=True, purpose=purpose)
    order = mixing.partners([torch.arange(len(batch.indices))]).tolist()
    weight, images = float(mixing.weight), batch.views[view].double()
    assert weight >= 0.5
    mixed = [weight * images[i] + (1 - weight) * images[j] for i, j in enumerate(order)]
    return weight, order, torch.stack(mixed)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("moit", {"memory": 2, "view": "weak", "symmetric_clean": False}),
    ("moit", {"memory": 1, "view": "strong", "symmetric_clean": True}),  # a batch has no room
    ("moit_plus", {"memory": 2, "view": "weak", "symmetric_clean": False}),
]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_three_epochs_and_the_further_stage_equal_the_plain_loop(
    name: str, changes: dict[str, Any]
) -> None:
    settings = {"temperature": 0.3, "projection": 6, "neighbours": 7} | changes
    settings |= {"memory_after": 1, "guess_after": 1}
    further = {"plus_epochs": 2, "plus_rate": 0.1, "bootstrap": 0.2, "bootstrap_after": 1}
    data = make_data(source=FewDigits(50), batch_size=15)
    more = {"contrastive_epochs": 3} | further if name == "moit_plus" else {}
    method = build(name, data, DOUBLE, **settings, **more)
    assert isinstance(method, MOIT)
    reference = Reference(data, method, settings | further | {"weak": 0})
    fit(method, data, epochs=5 if more else 3)
    data.streams = None
    reference.train(3)
    if more:
        reference.train_further(2, done=3)

    assert method.clean.tolist() == reference.clean
    assert 5 < method.clean.sum() < 45
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(method.scores()["agreement"], torch.tensor(reference.agreement))
    close(dict(method.networks["first"].state_dict()), dict(reference.net.state_dict()))


@pytest.mark.parametrize(("guess_after", "marked"), [(3, {"guesses begin": 3}), (4, {})])
def test_marks_are_of_what_the_epochs_come_to(guess_after: int, marked: dict[str, int]) -> None:
    data = make_data()
    plus = build("moit_plus", data, contrastive_epochs=4, guess_after=guess_after)
    assert plus.events() == {"plus begins": 4} | marked
    assert build("moit", data, guess_after=4).events() == {"guesses begin": 4}
