"""SSR and SSR+: which labels are replaced, which samples are kept, and what is learnt of them."""

import math
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor, nn
from torch.nn import functional as F
from toy import BATCH, SEED, SIZE, FewDigits, TinyNet, fit, make_data, make_setting, train_batches

from pmnar.data import Batch, NoisyDataModule
from pmnar.data.batches import Stream
from pmnar.errors import InputError
from pmnar.losses import soft_cross_entropy
from pmnar.methods import SSR, SSRPlus
from pmnar.methods.measurement import Measurement
from pmnar.methods.mixing import Mixing
from pmnar.networks.predicted import PredictedNetwork, negative_cosine
from pmnar.runtime.seeding import derive_seed
from pmnar.samples.selection import same_frequency

DOUBLE = partial(TinyNet, dtype=torch.float64)


class Reference:
    """Both as plain loops."""

    def __init__(self, data: NoisyDataModule, network: nn.Module, **settings: Any) -> None:
        self.data, self.network, self.settings = data, network, settings
        self.labels: list[int] = data.splits["train"].labels.tolist()
        self.targets, self.kept = [*self.labels], [True] * len(self.labels)
        self.plus = isinstance(network, PredictedNetwork)
        self.losses: list[float] = []

    def train(self, epochs: int) -> None:
        optimizer = torch.optim.SGD(
            self.network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4
        )
        for epoch in range(1, epochs + 1):
            self.data.streams = self.streams
            for batch in train_batches(self.data, epoch - 1):
                optimizer.zero_grad()
                loss = self.mixed(batch.parts["kept"])
                if self.plus:
                    loss = loss + self.settings["consistency"] * self.consistency(batch)
                torch.autograd.backward(loss)
                optimizer.step()
            if epoch == 2:
                optimizer.param_groups[0]["lr"] /= 10
            self.choose()

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        generator = torch.Generator().manual_seed(derive_seed(SEED, "kept", epoch))
        targets, kept = torch.tensor(self.targets), torch.tensor(self.kept)
        drawn = Stream(same_frequency(targets, kept, len(targets), generator))
        everybody = {"train": Stream(torch.arange(len(targets)))} if self.plus else {}
        return {**everybody, "kept": drawn}

    def mixed(self, part: Batch) -> Tensor:
        assert part.share is not None
        mixing = Mixing([part.share, part.share], 4.0, larger=True)
        size, weight = len(part.indices), float(mixing.weight)
        partners = mixing.partners([torch.arange(size), torch.arange(size)]).tolist()
        z, terms = self.network(mixing(part.views[-2:])), []
        for row, other in enumerate(partners):
            log_p = z[row].log_softmax(0)
            own, its = (self.targets[int(part.indices[i])] for i in (row % size, other))
            terms.append(-weight * log_p[own] - (1 - weight) * log_p[its])
        return torch.stack(terms).mean()

    def consistency(self, batch: Batch) -> Tensor:
        network, part = self.network, batch.parts["train"]
        assert isinstance(network, PredictedNetwork)
        # The weak view is normalised by its batch too, and so tells the running statistics.
        with torch.no_grad():
            target = network.projection(network.features(part.views[0]))
        predicted = network.prediction(network.projection(network.features(part.views[1])))
        cosines = [
            (a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()
            for a, b in zip(predicted, target, strict=True)
        ]
        return -torch.stack(cosines).mean()

    @torch.no_grad()
    def choose(self) -> None:
        self.network.eval()
        features: list[Tensor] = []
        for batch in self.data.ordered_batches(torch.device("cpu")):
            features += list(self.network.features(batch.views[0]))  # type: ignore[operator]
            p = self.network(batch.views[0]).softmax(-1)
            for i, row in zip(batch.indices.tolist(), p.tolist(), strict=True):
                sure = max(row) > self.settings["relabel"]
                self.targets[i] = row.index(max(row)) if sure else self.labels[i]
        self.network.train()
        size = len(features)
        unit = [(row / row.square().sum().sqrt()).tolist() for row in features]
        for i in range(size):
            near = sorted(
                range(size),
                key=lambda j: -sum(a * b for a, b in zip(unit[i], unit[j], strict=True)),
            )[: self.settings["neighbours"]]
            votes = [
                sum(self.targets[j] == k for j in near) / max(self.targets.count(k), 1)
                for k in range(10)
            ]
            share = votes[self.targets[i]] / max(votes)
            self.kept[i] = share > self.settings["select"] - 1e-9


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ssr", {"relabel": 0.127, "select": 0.5, "neighbours": 12}),
        ("ssr_plus", {"relabel": 0.125, "select": 1.0, "neighbours": 8, "consistency": 2.0}),
    ],
)
def test_three_epochs_equal_the_plain_loop(name: str, settings: dict[str, Any]) -> None:
    data = make_data(source=FewDigits(50), batch_size=10)
    method = build(name, data, DOUBLE, **settings)
    assert isinstance(method, SSR)
    network = deepcopy(method.networks["first"])
    fit(method, data, epochs=3)
    reference = Reference(data, network, **settings)
    reference.train(3)
    assert method.targets.tolist() == reference.targets
    assert 0 < method.record["relabelled"] < 1
    assert method.kept.tolist() == reference.kept
    assert 10 < sum(reference.kept) < 50, "more than the fewest, and not all"
    assert method.record["kept"] == sum(reference.kept) / 50
    torch.testing.assert_close(dict(method.networks["first"].state_dict()), network.state_dict())


# -- what is replaced and kept --------------------------------------------------------------------


def chosen(measured: Measurement, **settings: Any) -> SSR:
    """A method that has prepared its second epoch from this measurement."""
    method = build("ssr", make_data(), **settings)
    assert isinstance(method, SSR)
    method.measurement = measured
    method.prepare_epoch(2)
    return method


def said(seed: int = 0) -> Measurement:
    generator = torch.Generator().manual_seed(seed)
    prediction = {"first": torch.randint(10, (SIZE,), generator=generator)}
    top = {"first": torch.rand(SIZE, generator=generator)}
    features = {"features": torch.randn(SIZE, 8, generator=generator)}
    return Measurement({}, prediction, top, features)


def test_all_are_kept_and_none_replaced_where_so_is_set() -> None:
    method = chosen(said(), relabel=1.0, select=0.0)
    assert method.kept.all()
    assert torch.equal(method.targets, method.labels)
    assert (method.record["kept"], method.record["relabelled"]) == (1, 0)


def test_all_labels_may_be_replaced() -> None:
    measured = said()
    assert torch.equal(chosen(measured, relabel=0.0).targets, measured.prediction["first"])


def test_a_sample_that_is_its_only_neighbour_is_kept() -> None:
    assert chosen(said(), neighbours=1).kept.all()
    assert chosen(said(), neighbours=10_000).kept.all(), "all of them together say nothing"


def test_labels_replaced_are_not_remembered() -> None:
    method = chosen(said(0), relabel=0.0)
    method.measurement = said(1)
    method.relabel = 1.0
    method.prepare_epoch(3)
    assert torch.equal(method.targets, method.labels)


def test_where_nobody_is_confirmed_a_batch_of_the_best_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(1)

    def against(_: Tensor, labels: Tensor, num_classes: int, __: int) -> Tensor:
        shares = torch.rand(SIZE, num_classes, generator=generator)
        shares[torch.arange(SIZE), labels] *= 0.1
        shares[torch.arange(SIZE), (labels + 1) % num_classes] = 1
        return shares

    monkeypatch.setattr("pmnar.methods.ssr.balanced_votes", against)
    method = chosen(said(), relabel=1.0)
    assert int(method.kept.sum()) == BATCH
    assert method.vote[method.kept].min() >= method.vote[~method.kept].max()
    assert method.scores()["vote"].max() < 0.11


# -- the draws ------------------------------------------------------------------------------------


def counts(method: SSR, epoch: int) -> Tensor:
    """How often an epoch draws each sample."""
    return torch.bincount(method.streams(epoch)["kept"].indices, minlength=SIZE)


def test_an_epoch_has_as_many_of_each_class_and_of_each_of_its_samples() -> None:
    method = build("ssr", make_data())
    assert isinstance(method, SSR)
    method.targets[method.targets == 3] = 4
    method.kept[::3] = False
    drawn = counts(method, 2)
    assert int(drawn.sum()) == SIZE
    assert not drawn[~method.kept].any()
    of_class = torch.stack([drawn[method.targets == k].sum() for k in range(10)]).tolist()
    assert of_class.pop(3) == 0, "a class without samples has no draws"
    assert set(of_class) == {6, 7}, "60 of nine classes"
    for k in set(method.targets.tolist()):
        members = drawn[method.kept & (method.targets == k)]
        assert int(members.max() - members.min()) <= 1
    assert torch.equal(drawn, counts(method, 2))
    assert not torch.equal(method.streams(2)["kept"].indices, method.streams(3)["kept"].indices)


def test_two_classes_one_of_them_without_samples() -> None:
    data = make_data(source=FewDigits(labels=torch.zeros(SIZE, dtype=torch.int64)))
    labels = torch.zeros(SIZE, dtype=torch.int64)
    network = partial(TinyNet, 2)
    method = build("ssr_plus", data, network, labels=labels, class_names=("a", "b"))
    assert isinstance(method, SSRPlus)
    data.streams = method.streams
    for batch in train_batches(data):
        assert all(torch.isfinite(loss) for loss in method.losses(batch)["first"].values())
    method.measurement = said()
    method.measurement.prediction["first"].zero_()
    method.prepare_epoch(2)
    assert method.kept.all()
    assert torch.equal(counts(method, 2), torch.ones(SIZE, dtype=torch.int64))


# -- the losses -----------------------------------------------------------------------------------


def test_with_all_kept_it_is_mixup_on_given_labels() -> None:
    data = make_data()
    method = build("ssr", data, DOUBLE)
    batch = next(train_batches(data))
    part = batch.parts["kept"]
    mixing = Mixing([part.share, part.share], 4.0, larger=True)
    target = F.one_hot(part.labels, 10).double()
    z = method.networks["first"](mixing(part.views))
    expected = soft_cross_entropy(z, mixing([target, target])).mean()
    torch.testing.assert_close(method.losses(batch)["first"]["loss_first"], expected)


def test_the_weak_view_s_features_have_no_gradient_and_the_prediction_s_have() -> None:
    """With the prediction's layers as they are, but the identity, equal views cost −1."""
    data = make_data(("weak", "weak", "weak"))
    method = build("ssr_plus", data, DOUBLE)
    assert isinstance(method, SSRPlus)
    method.network.prediction = nn.Identity()
    batch = next(train_batches(data))
    part = batch.parts["train"]
    weak, strong = part.views[0], part.views[0].clone().requires_grad_()
    weak = weak.clone().requires_grad_()
    loss = method._consistency((weak, strong), part.share)
    assert float(loss.detach()) == pytest.approx(-1)
    gradients = torch.autograd.grad(loss, [strong, weak], allow_unused=True)
    assert gradients[0] is not None
    assert gradients[1] is None


def test_negative_cosine_s_closed_form() -> None:
    left = torch.tensor([[1.0, 0.0], [3.0, 4.0], [-2.0, 0.0]])
    right = torch.tensor([[0.0, 5.0], [6.0, 8.0], [1.0, 0.0]])
    assert negative_cosine(left, right).tolist() == pytest.approx([0, -1, 1])
    assert negative_cosine(left.bfloat16(), right.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SSR, {"networks": 2}, "method.networks must be 1 for SSR, got 2"),
        (SSR, {"relabel": 1.1}, "method.relabel must be in [0, 1], got 1.1"),
        (SSR, {"select": -0.1}, "method.select must be in [0, 1], got -0.1"),
        (SSR, {"select": math.nan}, "method.select must be in [0, 1], got nan"),
        (SSR, {"neighbours": 0}, "method.neighbours must be at least 1, or null, got 0"),
        (SSR, {"alpha": 0.0}, "method.alpha must be over 0, got 0.0"),
        (SSRPlus, {"consistency": -1.0}, "method.consistency must be at least 0, got -1.0"),
        (SSRPlus, {"projection": 0}, "method.projection must be at least 1, got 0"),
        (SSRPlus, {"hidden": 0}, "method.hidden must be at least 1, got 0"),
        (SSRPlus, {"relabel": 2}, "method.relabel must be in [0, 1], got 2"),
    ],
)
def test_settings_out_of_range_are_told(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        kind(make_setting(make_data(("weak",))), **settings)
    assert str(error.value) == message
