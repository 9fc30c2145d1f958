"""DivideMix and UNICON written again as plain loops, in float64; and divisions at their bounds."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from math import exp, log
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from toy import FewDigits, TinyNet, fit, make_data, train_batches

from pmnar.augment import Normalize
from pmnar.data import Batch, NoisyDataModule
from pmnar.data.batches import Stream
from pmnar.methods.mixing import Mixing
from pmnar.methods.semi_supervised import SemiSupervised
from pmnar.networks.projected import ProjectedNetwork
from pmnar.runtime.seeding import derive_seed
from pmnar.samples.mixtures import clean_probability

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)
NAMES = ("first", "second")
NORMALIZE = Normalize([0.3057], [0.3760])
BATCH, WARMUP = 10, 1
Rows = list[list[float]]


def softmax(z: list[float]) -> list[float]:
    total = sum(exp(each) for each in z)
    return [exp(each) / total for each in z]


def sharpened(p: list[float], temperature: float) -> list[float]:
    powers = [each ** (1 / temperature) for each in p]
    return [each / sum(powers) for each in powers]


class Reference:
    """What both share: a warm-up, a division, targets, mixed images, three terms."""

    def __init__(
        self, data: NoisyDataModule, networks: list[nn.Module], settings: Mapping[str, Any]
    ) -> None:
        self.data, self.networks, self.settings = data, networks, settings
        self.labels: list[int] = data.splits["train"].labels.tolist()
        self.size = len(self.labels)
        self.labelled = [[True] * self.size for _ in networks]
        self.clean = [[1.0] * self.size for _ in networks]
        self.optimizers = [
            torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
            for net in networks
        ]
        self.unlabelled_batch = BATCH

    def train(self, epochs: int) -> None:
        for epoch in range(1, epochs + 1):
            self.data.streams = self.streams
            batches = list(train_batches(self.data, epoch - 1))
            for number, batch in enumerate(batches):
                if epoch <= WARMUP:
                    self.warm_up(batch)
                else:
                    self.step(batch.parts, epoch - 1 + number / len(batches) - WARMUP)
            if epoch == 2:
                for optimizer in self.optimizers:
                    optimizer.param_groups[0]["lr"] /= 10
            if epoch + 1 > WARMUP:
                self.divide(epoch + 1)

    def streams(self, epoch: int) -> dict[str, Stream]:
        if epoch <= WARMUP:
            return {"train": Stream(torch.arange(self.size))}
        sides: dict[str, Stream] = {}
        order = (0, 1) if sum(self.labelled[0]) >= sum(self.labelled[1]) else (1, 0)
        for k in order:
            of = [i for i in range(self.size) if self.labelled[k][i]]
            sides[f"labelled {NAMES[k]}"] = Stream(torch.tensor(of))
        for k in (0, 1):
            of = [i for i in range(self.size) if not self.labelled[k][i]]
            sides[f"unlabelled {NAMES[k]}"] = Stream(
                torch.tensor(of, dtype=torch.int64), self.unlabelled_batch
            )
        return sides

    # -- steps ------------------------------------------------------------------------------------

    def warm_up(self, batch: Batch) -> None:
        for k, net in enumerate(self.networks):
            losses = []
            for z, i in zip(net(batch.views[0]), batch.indices.tolist(), strict=True):
                p = z.exp() / z.exp().sum()
                loss = -p[self.labels[i]].log()
                if self.settings["confidence_penalty"]:
                    loss = loss + sum(each * each.log() for each in p)
                losses.append(loss)
            self.update(k, torch.stack(losses).mean())

    def update(self, k: int, loss: Tensor) -> None:
        self.optimizers[k].zero_grad()
        torch.autograd.backward(loss)
        for parameter in self.networks[k].parameters():
            if parameter.grad is None:  # what idles decays all the same
                parameter.grad = torch.zeros_like(parameter)
        self.optimizers[k].step()

    def step(self, parts: Mapping[str, Batch], since: float) -> None:
        said = self.predictions(parts)
        losses = []
        for k, name in enumerate(NAMES):
            labelled, unlabelled = parts[f"labelled {name}"], parts.get(f"unlabelled {name}")
            refined: Rows = []
            for row, i in enumerate(labelled.indices.tolist()):
                w, p = self.clean[k][i], said[k, f"labelled {name}"][row]
                y = [float(c == self.labels[i]) for c in range(10)]
                blend = [w * a + (1 - w) * b for a, b in zip(y, p, strict=True)]
                refined.append(sharpened(blend, self.settings["temperature"]))
            guessed: Rows = []
            if unlabelled is not None:
                part = f"unlabelled {name}"
                for mine, other in zip(said[k, part], said[1 - k, part], strict=True):
                    mean = [(a + b) / 2 for a, b in zip(mine, other, strict=True)]
                    guessed.append(sharpened(mean, self.settings["temperature"]))
            losses.append(self.loss(k, labelled, unlabelled, refined, guessed, since))
        for k, loss in enumerate(losses):
            self.update(k, loss)

    @torch.no_grad()
    def predictions(self, parts: Mapping[str, Batch]) -> dict[tuple[int, str], Rows]:
        """What each network says of each part, mean of two views."""
        found: dict[tuple[int, str], Rows] = {}
        for k, net in enumerate(self.networks):
            for part, batch in parts.items():
                own = part.endswith(NAMES[k])
                if own and self.settings["predict_by"] == "batch":
                    found[k, part] = mean_prediction(net, batch)
        for k, net in enumerate(self.networks):
            net.eval()
            for part, batch in parts.items():
                if (k, part) not in found:
                    found[k, part] = mean_prediction(net, batch)
            net.train()
        return found

    def loss(
        self,
        k: int,
        labelled: Batch,
        unlabelled: Batch | None,
        refined: Rows,
        guessed: Rows,
        since: float,
    ) -> Tensor:
        net, both = self.networks[k], [labelled] if unlabelled is None else [labelled, unlabelled]
        images = torch.cat([view for part in both for view in part.views[-2:]]).double()
        shares = [part.share for part in both for _ in range(2) if part.share is not None]
        mixing, size = Mixing(shares, self.settings["alpha"], larger=True), len(images)
        places = torch.arange(size).split([share.size for share in shares])
        weight, order = float(mixing.weight), mixing.partners(places).tolist()
        targets = [*refined, *refined, *guessed, *guessed]
        mixed = [weight * images[i] + (1 - weight) * images[j] for i, j in enumerate(order)]
        wanted = [
            [weight * a + (1 - weight) * b for a, b in zip(targets[i], targets[j], strict=True)]
            for i, j in enumerate(order)
        ]
        z = net(torch.stack(mixed))
        p = z.exp() / z.exp().sum(-1, keepdim=True)
        border = 2 * len(refined)
        loss = p.new_zeros(())
        for row in range(border):
            loss = loss - sum(t * p[row, c].log() for c, t in enumerate(wanted[row])) / border
        rise = min(max(since / self.settings["ramp_epochs"], 0), 1)
        for row in range(border, size):
            distance = sum((p[row, c] - t) ** 2 for c, t in enumerate(wanted[row])) / 10
            loss = loss + self.settings["strength"] * rise * distance / (size - border)
        for c in range(10):
            loss = loss + 0.1 * (0.1 / (sum(p[:, c]) / size)).log()
        return loss

    # -- divisions --------------------------------------------------------------------------------

    def divide(self, epoch: int) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def confidences(self) -> Rows:
        """What each network, as it is, gives each sample's label."""
        found = []
        for net in self.networks:
            net.eval()
            images = self.data.splits["train"].images
            logits = [net(NORMALIZE(images[i : i + 1]))[0].tolist() for i in range(self.size)]
            found.append([softmax(z)[y] for z, y in zip(logits, self.labels, strict=True)])
            net.train()
        return found


def mean_prediction(net: nn.Module, batch: Batch) -> Rows:
    views = [[softmax(z) for z in net(view).tolist()] for view in batch.views[:2]]
    return [
        [(a + b) / 2 for a, b in zip(left, right, strict=True)]
        for left, right in zip(*views, strict=True)
    ]


class DivideMixReference(Reference):
    """The other network's losses divide."""

    past: tuple[Rows, Rows] = ([], [])

    def divide(self, epoch: int) -> None:
        self.past = self.past if any(self.past) else ([], [])
        for k, confidence in enumerate(self.confidences()):
            losses = [-log(c) for c in confidence]
            low, high = min(losses), max(losses)
            self.past[k].append([(each - low) / (high - low) for each in losses])
            last = self.past[k][-self.settings["history"] :]
            mean = torch.tensor([sum(column) / len(last) for column in zip(*last, strict=True)])
            found = clean_probability(mean, derive_seed(3, "mixture", epoch, NAMES[k]))
            self.clean[1 - k] = found.tolist()
            best = sorted(range(self.size), key=lambda i, p=found: -float(p[i]))[:BATCH]
            self.labelled[1 - k] = [
                bool(p > self.settings["threshold"]) or i in best for i, p in enumerate(found)
            ]


class UNICONReference(Reference):
    """Both networks divide together; the strong views of what has no label are contrasted."""

    def divide(self, epoch: int) -> None:
        first, second = self.confidences()
        base = 2.0 if self.settings["jsd_base"] == 2 else exp(1)
        divergence = []
        for a, b in zip(first, second, strict=True):
            c = (a + b) / 2
            middle = (1 + c) / 2
            # Of a class that is not given half of p is the middle, whatever p: p log 2.
            of_prediction = c * log(c / middle) + (1 - c) * log(2)
            divergence.append((of_prediction + log(1 / middle)) / 2 / log(base))
        mean = sum(divergence) / self.size
        if mean > self.settings["most_divergence"]:
            mean -= (mean - min(divergence)) / self.settings["divisor"]
        share = sum(each < mean for each in divergence) / self.size
        number = max(int(share * self.size / 10), 1)
        chosen: set[int] = set()
        for c in range(10):
            members = [i for i in range(self.size) if self.labels[i] == c]
            chosen.update(sorted(members, key=lambda i: divergence[i])[:number])
        self.unlabelled_batch = int(BATCH / (2 * share))
        for k in (0, 1):
            self.labelled[k] = [i in chosen for i in range(self.size)]
            self.clean[k] = [1.0 if each < 0.5 else 1 - each for each in divergence]

    def loss(
        self,
        k: int,
        labelled: Batch,
        unlabelled: Batch | None,
        refined: Rows,
        guessed: Rows,
        since: float,
    ) -> Tensor:
        loss = super().loss(k, labelled, unlabelled, refined, guessed, since)
        net = self.networks[k]
        assert isinstance(net, ProjectedNetwork)
        if unlabelled is None:
            return loss
        points = []
        for view in unlabelled.views[2:]:
            rows = net.norm(net.projection(net.network.features(view)))  # type: ignore[operator]
            points += [row / row.square().sum().sqrt() for row in rows]
        size, of_anchors = len(points), []
        for i in range(size):
            alike = [(points[i] * points[j]).sum() / 0.05 for j in range(size)]
            others = sum(alike[j].exp() for j in range(size) if j != i)
            of_anchors.append(torch.as_tensor(others).log() - alike[(i + size // 2) % size])
        return loss + self.settings["contrast_strength"] * sum(of_anchors) / size


SHARED = {"alpha": 4.0, "temperature": 0.5, "strength": 25.0}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("dividemix", {"confidence_penalty": False, "predict_by": "running", "ramp_epochs": 16}),
    (
        "dividemix",
        {"confidence_penalty": True, "predict_by": "batch", "ramp_epochs": 2, "history": 2},
    ),
    ("unicon", {"confidence_penalty": False, "predict_by": "batch", "ramp_epochs": 16}),
    (
        "unicon",
        {
            "confidence_penalty": True,
            "predict_by": "running",
            "ramp_epochs": 2,
            "jsd_base": 2,
            "most_divergence": 0.3,
        },
    ),
]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_three_epochs_equal_the_plain_loop(name: str, changes: dict[str, Any]) -> None:
    data = make_data(source=FewDigits(50), batch_size=BATCH)
    method = build(name, data, DOUBLE, **SHARED, **changes)
    assert isinstance(method, SemiSupervised)
    networks = [deepcopy(net) for net in method.networks.values()]
    fit(method, data, epochs=3)

    defaults: dict[str, Any] = {"history": 1, "threshold": 0.5}
    defaults |= {"jsd_base": "e", "most_divergence": 0.7, "divisor": 5, "contrast_strength": 0.025}
    kind = {"dividemix": DivideMixReference, "unicon": UNICONReference}[name]
    reference = kind(data, networks, {**defaults, **SHARED, **changes})
    reference.train(3)

    assert torch.equal(method.labelled, torch.tensor(reference.labelled))
    assert not method.labelled.all()
    # Probabilities of right labels are float32 in the library.
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
    close(method.clean.double(), torch.tensor(reference.clean, dtype=torch.float64))
    for net, expected in zip(method.networks.values(), networks, strict=True):
        close(dict(net.state_dict()), dict(expected.state_dict()))
