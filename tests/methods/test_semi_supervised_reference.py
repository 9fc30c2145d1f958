"""DivideMix and UNICON written again as plain loops, in float64."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from math import exp, log
from typing import Any

import pytest
import torch
from every import build
from mixmatch import BATCH, NAMES, Reference, Rows
from torch import Tensor, nn
from toy import FewDigits, TinyNet, fit, make_data

from pmnar.data import Batch
from pmnar.methods.semi_supervised import SemiSupervised
from pmnar.networks.projected import ProjectedNetwork
from pmnar.runtime.seeding import derive_seed
from pmnar.samples.mixtures import clean_probability

DOUBLE: Callable[[], nn.Module] = partial(TinyNet, dtype=torch.float64)


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
            best = found.argsort(descending=True, stable=True)[:BATCH].tolist()
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
        contrast: Tensor = torch.stack(of_anchors).mean()
        return loss + float(self.settings["contrast_strength"]) * contrast


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
