"""Webly learning: what is easy, how classes relate, and the fixed layer that this makes."""

import math
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from toy import BATCH, SIZE, FewDigits, TinyNet, fit, make_data, make_setting, train_batches

from pmnar.data import NoisyDataModule
from pmnar.data.batches import Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods import Webly
from pmnar.methods.measurement import Measurement
from pmnar.samples.neighbours import balanced_votes
from pmnar.samples.reweighting import relative_weights
from pmnar.samples.selection import same_share_of_each_class

DOUBLE = partial(TinyNet, dtype=torch.float64)


class Reference:
    """Both stages as plain loops; easy is what has the smallest loss."""

    def __init__(self, data: NoisyDataModule, network: nn.Module, **settings: Any) -> None:
        self.data, self.network, self.settings = data, network, settings
        self.labels: list[int] = data.splits["train"].labels.tolist()
        self.easy = [True] * len(self.labels)
        self.relations = [[float(k == j) for j in range(10)] for k in range(10)]

    def train(self, epochs: int, easy_epochs: int) -> None:
        optimizer = torch.optim.SGD(
            self.network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
        )
        self.data.streams = self.streams
        for epoch in range(1, epochs + 1):
            self.all = epoch == 1 or epoch > easy_epochs
            for batch in train_batches(self.data, epoch - 1):
                terms = []
                for z, i in zip(self.network(batch.views[0]), batch.indices.tolist(), strict=True):
                    loss = self.loss(z.softmax(0), self.labels[i], epoch > easy_epochs)
                    terms += [] if loss is None else [loss]
                optimizer.zero_grad()
                torch.autograd.backward(torch.stack(terms).mean())
                optimizer.step()
            if epoch == 2:
                optimizer.param_groups[0]["lr"] /= 10
            if epoch <= easy_epochs:
                self.choose()

    def streams(self, _: int) -> Mapping[str, Stream]:
        if self.all:
            return {"train": Stream(torch.arange(len(self.labels)))}
        return {"easy": Stream(torch.tensor([i for i, easy in enumerate(self.easy) if easy]))}

    def loss(self, p: Tensor, label: int, through: bool) -> Tensor | None:
        if not through:
            return -p[label].log()
        if self.settings["trim"] and float(-p[label].detach().log()) >= self.settings["trim"]:
            return None
        if self.settings["through"] == "labels":
            row = self.relations[label]
            return -torch.stack([row[k] * p[k].log() for k in range(10)]).sum()
        return -torch.stack([p[k] * self.relations[k][label] for k in range(10)]).sum().log()

    @torch.no_grad()
    def choose(self) -> None:
        self.network.eval()
        batches = self.data.ordered_batches(torch.device("cpu"))
        p = torch.cat([self.network(batch.views[0]) for batch in batches]).softmax(-1).tolist()
        self.network.train()
        chosen: set[int] = set()
        for k in range(10):
            members = [i for i, label in enumerate(self.labels) if label == k]
            members.sort(key=lambda i: -p[i][k])
            chosen.update(members[: max(int(self.settings["easy_share"] * len(members)), 1)])
        best = sorted(range(len(p)), key=lambda i: -p[i][self.labels[i]])
        chosen.update(best[: self.data.batch_size])
        self.easy = [i in chosen for i in range(len(p))]
        for k in range(10):
            rows = [p[i] for i in chosen if self.labels[i] == k]
            if rows:
                mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
                least = sorted(mean)[-self.settings["related"]]
                kept = [each if each >= least else 0.0 for each in mean]
                self.relations[k] = [each / sum(kept) for each in kept]


@pytest.mark.parametrize(
    "settings",
    [
        {"easy_share": 0.5, "related": 3, "through": "labels", "trim": None},
        {"easy_share": 0.7, "related": 10, "through": "predictions", "trim": None},
        {"easy_share": 0.3, "related": 4, "through": "labels", "trim": 2.3},
    ],
)
def test_four_epochs_equal_the_plain_loop(settings: dict[str, Any]) -> None:
    data = make_data(source=FewDigits(50), batch_size=10)
    method = build("webly", data, DOUBLE, easy_epochs=3, **settings)
    assert isinstance(method, Webly)
    network = deepcopy(method.networks["first"])
    fit(method, data, epochs=4)
    reference = Reference(data, network, **settings)
    reference.train(4, easy_epochs=3)
    assert method.easy.tolist() == reference.easy
    assert 10 < sum(reference.easy) < 50
    relations = torch.tensor(reference.relations)
    torch.testing.assert_close(method.relations, relations, rtol=1e-5, atol=1e-6)
    found, expected = method.networks["first"].state_dict(), network.state_dict()
    # The matrix is float32.
    torch.testing.assert_close(dict(found), dict(expected), rtol=1e-5, atol=1e-6)


# -- how classes relate, and the layer ------------------------------------------------------------


def related(**settings: Any) -> Webly:
    method = build("webly", make_data(), DOUBLE, **settings)
    assert isinstance(method, Webly)
    return method


@pytest.mark.parametrize("through", ["labels", "predictions"])
def test_unrelated_classes_make_cross_entropy(through: str) -> None:
    method = related(through=through)
    z, labels = torch.randn(30, 10, dtype=torch.float64), torch.arange(30) % 10
    torch.testing.assert_close(method.related_loss(z, labels), cross_entropy(z, labels))


def test_the_gradient_of_targets_is_the_prediction_s_distance_from_a_row() -> None:
    method = related()
    method.relations.copy_(torch.rand(10, 10).softmax(-1))
    z = torch.randn(30, 10, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(30) % 10
    [gradient] = torch.autograd.grad(method.related_loss(z, labels).sum(), z)
    torch.testing.assert_close(gradient, z.detach().softmax(-1) - method.relations[labels].double())


def test_a_class_that_nothing_is_taken_for_costs_much_and_not_infinitely() -> None:
    method = related(through="predictions")
    method.relations[:, 0] = 0
    z = torch.zeros(2, 10, dtype=torch.float64)
    loss = method.related_loss(z, torch.tensor([0, 1]))
    assert loss.tolist() == pytest.approx([-math.log(1e-4), math.log(10)])


def test_relations_are_mean_predictions_of_easy_samples_cut_to_the_largest() -> None:
    method = related(related=2)
    method.labels.copy_(torch.arange(SIZE) % 2)
    method.easy[2:] = False
    method.easy[2] = True
    said = torch.zeros(SIZE, 10)
    said[0, :3], said[2, :3] = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.7, 0.1, 0.2])
    said[1, 1:4] = torch.tensor([0.1, 0.6, 0.3])
    said[3:] = 0.1
    found = method._relations(said)
    assert found[0].tolist() == pytest.approx([0.75, 0.25] + [0] * 8)
    assert found[1].tolist() == pytest.approx([0, 0, 2 / 3, 1 / 3] + [0] * 6)
    assert torch.equal(found[2:], torch.eye(10)[2:]), "classes without samples"
    sure = related(related=1)
    assert torch.equal(sure._relations(torch.eye(10)[sure.labels]), torch.eye(10))


# -- what is easy ---------------------------------------------------------------------------------


def said(confidence: Tensor, **kept: Tensor) -> Measurement:
    return Measurement({"first": confidence}, {}, {}, kept)


def test_all_samples_may_be_easy() -> None:
    method = related(easy_share=1.0)
    method._choose(said(torch.rand(SIZE)))
    assert method.easy.all()


def test_at_least_a_batch_is_easy_and_one_of_each_class() -> None:
    method = related(easy_share=0.001)
    confidence = torch.linspace(0, 1, SIZE)
    method._choose(said(confidence))
    assert method.easy[-BATCH:].all()
    assert set(method.labels[method.easy].tolist()) == set(method.labels.tolist())
    assert BATCH <= int(method.easy.sum()) <= BATCH + 10
    assert torch.equal(method.scores()["easiness"], confidence)


def test_neighbours_may_tell_what_is_easy() -> None:
    method = related(easy_by="agreement")
    assert method.needs_features
    assert not related().needs_features
    features = torch.randn(SIZE, 8)
    method._choose(said(torch.rand(SIZE), features=features))
    votes = balanced_votes(features, method.labels, 10, 10)
    assert torch.equal(method.easiness, relative_weights(votes, method.labels))


@pytest.mark.parametrize("by", ["loss", "agreement"])
def test_two_classes_one_of_them_without_samples(by: str) -> None:
    labels = torch.zeros(SIZE, dtype=torch.int64)
    data = make_data(source=FewDigits(labels=labels))
    settings: dict[str, Any] = {"labels": labels, "class_names": ("a", "b"), "easy_by": by}
    method = build("webly", data, partial(TinyNet, 2), **settings)
    assert isinstance(method, Webly)
    method.test_names = ()
    fit(method, data, epochs=3, limit_val_batches=0)
    assert torch.equal(method.relations[1], torch.tensor([0.0, 1.0]))
    assert float(method.relations[0].sum()) == pytest.approx(1)
    assert math.isfinite(method.record["loss"])


def test_a_stage_that_leaves_nothing_out_says_so() -> None:
    assert "method.choose_after=5" in str(related(choose_after=5, easy_epochs=5).advice(100))
    assert "easy 6" in str(related(choose_after=5, easy_epochs=6).advice(3))
    assert related(choose_after=5, easy_epochs=6).advice(100) is None


def test_same_shares_of_each_class_are_a_plain_loop_s() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(5, (40,), generator=generator).float()  # many are equal
    labels = torch.randint(4, (40,), generator=generator)
    labels[labels == 2] = 3
    found = same_share_of_each_class(scores, labels, 0.3, 4)
    for k in range(4):
        members = [i for i in range(40) if labels[i] == k]
        best = sorted(members, key=lambda i: float(scores[i]))[: max(int(0.3 * len(members)), 1)]
        assert [i for i in members if found[i]] == sorted(best)
    assert same_share_of_each_class(scores, labels, 1.0, 4).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": 2}, "method.networks must be 1 for webly learning, got 2"),
        ({"easy_epochs": 0}, "method.easy_epochs must be at least 1, got 0"),
        ({"hard_epochs": -1}, "method.hard_epochs must be at least 0, got -1"),
        ({"choose_after": 0}, "method.choose_after must be at least 1, got 0"),
        ({"related": 0}, "method.related must be at least 1, got 0"),
        ({"easy_share": 0.0}, "method.easy_share must be in (0, 1], got 0.0"),
        ({"easy_share": math.nan}, "method.easy_share must be in (0, 1], got nan"),
        ({"easy_by": "luck"}, "method.easy_by must be one of loss, agreement, got luck"),
        ({"through": "walls"}, "method.through must be one of labels, predictions, got walls"),
        ({"trim": 0.0}, "method.trim must be over 0, or null, got 0.0"),
    ],
)
def test_settings_out_of_range_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        Webly(make_setting(make_data(("weak",))), **settings)
    assert str(error.value) == message
