"""MixMatch of two networks, as plain loops: what DivideMix and UNICON share."""

from collections.abc import Mapping
from math import exp
from typing import Any

import torch
from torch import Tensor, nn
from toy import train_batches

from pmnar.augment import Normalize
from pmnar.data import Batch, NoisyDataModule
from pmnar.data.batches import Stream
from pmnar.methods.mixing import Mixing

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
        places = torch.split(torch.arange(size), [share.size for share in shares])
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
        loss: Tensor = p.new_zeros(())
        for row in range(border):
            loss = loss - sum(t * p[row, c].log() for c, t in enumerate(wanted[row])) / border
        rise = min(max(since / self.settings["ramp_epochs"], 0), 1)
        for row in range(border, size):
            distance = sum((p[row, c] - t) ** 2 for c, t in enumerate(wanted[row])) / 10
            loss = loss + float(self.settings["strength"]) * rise * distance / (size - border)
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
