"""PMNAR's switches beyond its paper: each is an identity, in float64 against plain loops."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import (
    ABLATIONS,
    BATCH,
    SIZE,
    TinyNet,
    Watched,
    fit,
    make_data,
    make_method,
    measured,
    same_state,
    sets,
    state,
    terms_of,
    train_batches,
)

from pmnar.data import Batch
from pmnar.errors import InputError
from pmnar.methods.mixing import Mixing
from pmnar.methods.pmnar_beyond import sharpened
from pmnar.methods.pmnar_mixed import ALPHA, refurbished
from pmnar.methods.terms import total
from pmnar.networks import SmallCNN
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.run_folder import CHECKPOINT
from pmnar.samples.neighbours import balanced_votes
from pmnar.samples.reweighting import relative_weights

TWO = ABLATIONS["pmnar"]
EXACT = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)
"""What is float32 in the library: weights, targets, shares."""
ALL: dict[str, Any] = {
    "weights": "relative",
    "normalise": "mean",
    "consistency": "by_weight",
    "warmup": "ready",
    "prior": "given",
    "temperature": 0.5,
    "statistics": "weak",
}


def weighted(**settings: Any) -> tuple[Watched, Batch]:
    """A method in float64 with weights that say something, and a batch."""
    data = make_data()
    method = make_method(data, partial(TinyNet, dtype=torch.float64), **{**TWO, **settings})
    generator = torch.Generator().manual_seed(5)
    method.sample_weights.copy_(torch.rand(method.sample_weights.shape, generator=generator))
    return method.eval(), next(train_batches(data))


def plain(method: Watched, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """Both networks' probabilities on the weak view and on the strong one."""
    networks = list(method.networks.values())
    weak, strong = batch.views[:2]
    return [n(weak).softmax(-1) for n in networks], [n(strong).softmax(-1) for n in networks]


def divergence(target: Tensor, p: Tensor) -> Tensor:
    return (target * (target.log() - p.log())).sum(-1)


def test_a_batch_s_losses_are_divided_by_the_sum_of_its_weights() -> None:
    method, batch = weighted(normalise="mean")
    usual, _ = weighted()
    found, before = terms_of(method, batch), terms_of(usual, batch)
    for position, name in enumerate(method.networks):
        weights = method.sample_weights[position, batch.indices]
        loss = before[f"loss_{name}"] / weights
        expected = (weights * loss).sum() / weights.sum()
        EXACT(found[f"loss_{name}"].mean(), expected)
    EXACT(found["loss_consistency"], before["loss_consistency"])


def test_consistency_by_weight_is_the_mean_weight_times_the_normalised_loss() -> None:
    (scaled, batch), (mean, _) = weighted(consistency="by_weight"), weighted(normalise="mean")
    assert batch.share is not None
    losses, expected = scaled.losses(batch), mean.losses(batch)
    for position, name in enumerate(scaled.networks):
        weight = scaled.sample_weights[position, batch.indices].mean()
        EXACT(total(losses[name], batch.share), weight * total(expected[name], batch.share))


def test_with_weights_of_1_neither_changes_anything() -> None:
    found = []
    for settings in ({}, {"normalise": "mean"}, {"consistency": "by_weight"}):
        method, batch = weighted(**settings)
        method.sample_weights.fill_(1)
        found.append(terms_of(method, batch))
    for other in found[1:]:
        EXACT(other, found[0])


def test_a_sharpened_target_in_a_plain_loop() -> None:
    method, batch = weighted(temperature=0.5)
    (p, q), strong = plain(method, batch)
    rows = []
    for row in ((p + q) / 2).tolist():
        powers = [value**2 for value in row]
        rows.append([value / sum(powers) for value in powers])
    target = torch.tensor(rows, dtype=torch.float64)
    expected = sum(divergence(target, each) for each in strong)
    EXACT(terms_of(method, batch)["loss_consistency"], expected)


def test_sharpening_ends_at_one_hot_and_keeps_all_finite() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [1e-30, 1.0, 0.0]])
    assert torch.equal(sharpened(p, 1.0), p)
    expected = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    torch.testing.assert_close(sharpened(p, 1e-3), expected)


# -- the prior ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["uniform", "given"])
def test_a_prior_shifts_the_supervised_loss_and_frees_the_target(target: str) -> None:
    (method, batch), (usual, _) = weighted(prior=target), weighted()
    prior = method.beyond.prior
    assert prior is not None
    before = terms_of(usual, batch)
    EXACT(terms_of(method, batch), before)  # as long as each class is predicted as it should be
    prior.shares.copy_(torch.rand(2, 10, generator=torch.Generator().manual_seed(1)))
    wanted = torch.full((10,), 0.1)
    if target == "given":
        wanted = torch.bincount(method.labels, minlength=10) / SIZE
    shifts = [(share / wanted).log() for share in prior.shares]
    weak, strong = plain(method, batch)
    mask = torch.arange(10) != batch.labels[:, None]
    found = terms_of(method, batch)  # which moves the shares on
    for name, p, shift, weights in zip(
        method.networks, weak, shifts, method.sample_weights, strict=True
    ):
        moved = (p.log() + shift).softmax(-1)
        given = moved.gather(1, batch.labels[:, None]).squeeze(1)
        pm = -given.log() - ((1 - moved).log() * mask).sum(1)
        EXACT(found[f"loss_{name}"], weights[batch.indices] * pm)
    freed = [(p.log() - shift).softmax(-1) for p, shift in zip(weak, shifts, strict=True)]
    target_p = (freed[0] + freed[1]) / 2
    EXACT(found["loss_consistency"], sum(divergence(target_p, p) for p in strong))


def test_the_prior_follows_the_weak_view_s_predictions_a_step_at_a_time() -> None:
    method, batch = weighted(prior="uniform")
    weak, _ = plain(method, batch)
    method.losses(batch)
    method.after_step(batch)
    assert method.beyond.prior is not None
    for shares, p in zip(method.beyond.prior.shares, weak, strict=True):
        EXACT(shares.double(), 0.99 * torch.full((10,), 0.1).double() + 0.01 * p.mean(0))


def test_until_samples_are_weighed_a_prior_of_the_warm_up_changes_nothing() -> None:
    states = []
    for prior in ("none", "warmup"):
        data = make_data()
        method = make_method(data, prior=prior, warmup_epochs=3, **TWO)
        fit(method, data, epochs=3)
        states.append(state(method.networks))
    EXACT(states[1], states[0])
    assert method.beyond.prior is not None
    assert bool(method.beyond.prior.frozen)  # by the pass after the last epoch
    assert not method.beyond.prior.shift(0).any()


def test_weights_are_of_freed_confidences() -> None:
    data = make_data()
    method = make_method(data, prior="uniform", **TWO)
    fit(method, data, epochs=2)
    prior = method.beyond.prior
    assert prior is not None
    for position, giver in enumerate((1, 0)):
        p = method.ordered_pass(
            lambda said, _: {"p": list(said.values())[giver].probabilities}  # noqa: B023
        )["p"]
        freed = prior.debiased(p, giver).gather(1, method.labels[:, None]).squeeze(1)
        EXACT(method.sample_weights[position], freed - freed.min())


# -- weights --------------------------------------------------------------------------------------


def test_relative_weights_average_both_networks_over_epochs() -> None:
    data = make_data()
    method = make_method(data, weights="relative", memory=0.25, **TWO)
    fit(method, data, epochs=1)
    seen, mean = method.labels.tolist(), method.beyond.mean
    assert mean is not None
    expected = mean.values.clone()
    generator = torch.Generator().manual_seed(0)
    for epoch in (3, 4):
        now = torch.rand(SIZE, 10, generator=generator)
        method.measurement = replace(measured(), kept={"mean": now})
        method.prepare_epoch(epoch)
        expected = 0.25 * expected + 0.75 * now
        weights = [row[y] / max(row) for row, y in zip(expected.tolist(), seen, strict=True)]
        for of_network in method.sample_weights:
            EXACT(of_network, torch.tensor(weights))


def test_the_pass_gives_the_mean_of_both_networks() -> None:
    data = make_data()
    method = make_method(data, weights="relative", **TWO)
    fit(method, data, epochs=2)
    p = method.ordered_pass(
        lambda said, _: {"p": (said["first"].probabilities + said["second"].probabilities) / 2}
    )["p"]
    EXACT(method.measure().kept["mean"], p)


def test_neighbours_vote_with_the_giver_s_features() -> None:
    data = make_data()
    method = make_method(data, partial(SmallCNN, 10, width=4), neighbours="vote", **TWO)
    fit(method, data, epochs=2)
    found = method.measure()
    for position, giver in enumerate(("second", "first")):
        confidence = found.confidence[giver]
        asked = balanced_votes(found.kept[f"features_{giver}"], method.labels, 10, 10)
        shares = relative_weights(asked, method.labels)
        EXACT(method.sample_weights[position], (confidence - confidence.min()) * shares)
        assert 0 < shares.min() < shares.max() == 1


# -- when it begins -------------------------------------------------------------------------------


@pytest.mark.parametrize("networks", [1, 2])
def test_reweighting_waits_until_predictions_agree(networks: int) -> None:
    settings = {**(TWO if networks == 2 else ABLATIONS["pm_ar"]), "warmup": "ready"}
    method = make_method(make_data(), **settings)
    full = sets(method)
    known, unsure = torch.arange(SIZE) % 10, torch.arange(SIZE) // 6

    def prepare(epoch: int, first: Tensor, second: Tensor) -> bool:
        said = {"first": first} | ({"second": second} if networks == 2 else {})
        method.measurement = replace(measured(), prediction=said)
        method.prepare_epoch(epoch)
        return not torch.equal(sets(method), full)

    assert not prepare(1, known, known)  # in the warm-up
    assert not prepare(2, known, unsure)
    assert (method.sample_weights == 1).all()
    assert method.record["agreement"] < 0.5
    assert method.beyond.never_began() is not None
    assert prepare(3, known, known)
    assert (method.sample_weights != 1).any()
    assert method.record["agreement"] == 1
    method.record.pop("agreement")
    assert prepare(4, known, unsure)  # what has begun goes on
    assert "agreement" not in method.record
    assert method.beyond.never_began() is None


def test_a_run_in_which_it_never_began_says_so() -> None:
    data = make_data()
    method = make_method(data, lr=0.0, warmup="ready", **TWO)
    with pytest.warns(UserWarning, match="no sample was reweighted: the predictions never agreed"):
        fit(method, data, epochs=2)


# -- statistics -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fused_forward", [False, True])
def test_running_statistics_are_the_weak_view_s_alone(fused_forward: bool) -> None:
    data = make_data()
    batch = next(train_batches(data))
    switched = make_method(data, statistics="weak", fused_forward=fused_forward, **TWO)
    usual = make_method(data, **TWO)
    switched.networks.load_state_dict(state(usual.networks))
    EXACT(terms_of(switched, batch), terms_of(usual, batch))
    alone = make_method(make_data(), **{**TWO, "beta": 0.0})
    alone.networks.load_state_dict(state(make_method(data, **TWO).networks))
    alone.losses(batch._replace(views=batch.views[:1]))
    assert same_state(state(switched.networks), state(alone.networks))
    assert not same_state(state(usual.networks), state(alone.networks))


# -- mixed strong views ---------------------------------------------------------------------------

MIXED = {**TWO, "views_trained": "strong_mixed"}


def mixing_of(batch: Batch) -> Mixing:
    assert batch.share is not None
    return Mixing([batch.share], ALPHA, larger=True)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_loss_on_mixed_views_in_a_plain_loop(temperature: float) -> None:
    method, batch = weighted(views_trained="strong_mixed", temperature=temperature)
    found = terms_of(method, batch)
    (p, q), _ = plain(method, batch)
    said = ((p + q) / 2) ** (1 / temperature)
    said = said / said.sum(1, keepdim=True)
    mixing = mixing_of(batch)
    share, partner = float(mixing.weight), mixing.partners([torch.arange(BATCH)]).tolist()
    mixed = mixing([batch.views[1]])
    given = torch.eye(10, dtype=torch.float64)[batch.labels]
    for name, network, weights in zip(
        method.networks, method.networks.values(), method.sample_weights.double(), strict=True
    ):
        w = weights[batch.indices][:, None]
        targets, log_p = w * given + (1 - w) * said, network(mixed).log_softmax(-1)
        expected = []
        for row, other in enumerate(partner):
            target = share * targets[row] + (1 - share) * targets[other]
            loss = (target * (target.clamp_min(1e-30).log() - log_p[row])).sum()
            for k in range(10):
                if k not in (batch.labels[row], batch.labels[other]):
                    loss = loss - torch.log1p(-log_p[row, k].exp())
            expected.append(loss)
        EXACT(found[f"loss_{name}"], torch.stack(expected))
    assert not [name for name in found if "consistency" in name]


def test_with_weights_of_1_it_is_mixup_on_strong_views() -> None:
    method, batch = weighted(**{**ABLATIONS["ce"], "views_trained": "strong_mixed"})
    method.sample_weights.fill_(1)
    mixing = mixing_of(batch)
    log_p = method.networks["first"](mixing([batch.views[1]])).log_softmax(-1)
    given = torch.eye(10, dtype=torch.float64)[batch.labels]
    target = mixing([given])
    expected = (target * (target.clamp_min(1e-30).log() - log_p)).sum(1)
    EXACT(terms_of(method, batch)["loss_first"], expected)


def test_weights_of_0_leave_nothing_of_the_given_labels() -> None:
    said = torch.rand(4, 3).softmax(-1)
    labels = torch.tensor([0, 1, 2, 0])
    assert torch.equal(refurbished(labels, torch.zeros(4), said), said)
    ones = refurbished(labels, torch.ones(4), said)
    assert torch.equal(ones, torch.eye(3)[labels])


@pytest.mark.parametrize("networks", [1, 2])
def test_it_trains_on_mixed_views_past_its_warm_up(networks: int) -> None:
    data = make_data()
    method = make_method(data, **{**MIXED, "networks": networks})
    fit(method, data, epochs=3)
    assert (method.margins.totals[:, 1] == 3).all()
    assert method.record["complementary_size"] < 9


# -- what holds for all of them -------------------------------------------------------------------


def test_they_are_off_unless_asked_for() -> None:
    states = []
    off = {"weights": "absolute", "normalise": "none", "consistency": "plain", "warmup": "epochs"}
    off |= {"prior": "none", "statistics": "all", "views_trained": "weak"}
    for settings in ({}, {**off, "temperature": 1.0, "memory": 0.9}):
        data = make_data()
        method = make_method(data, **{**TWO, **settings})
        fit(method, data, epochs=3)
        states.append(state(method))
    assert same_state(*states)
    assert not [key for key in states[0] if key.startswith("beyond")]


@pytest.mark.parametrize("views", ["weak", "strong_mixed"])
def test_all_together_end_as_unbroken_wherever_they_stopped(views: str, tmp_path: Path) -> None:
    io: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    data, settings = make_data(), {**TWO, **ALL, "views_trained": views}
    whole = make_method(data, **settings)
    fit(whole, data, 4)
    for epoch in (1, 3):
        folder = tmp_path / str(epoch)
        fit(make_method(data, **settings), data, epoch, [RunCheckpoint(folder)], **io)
        again = make_method(data, **settings)
        fit(again, data, 4, [RunCheckpoint(folder)], folder / CHECKPOINT, **io)
        assert same_state(state(whole), state(again))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "some"}, r"method\.weights must be one of absolute, relative, got some"),
        ({"prior": "true"}, r"method\.prior must be one of none, uniform, given, warmup, got true"),
        ({"temperature": 0}, r"method\.temperature must be in \(0, 1\], got 0"),
        ({"memory": 1}, r"method\.memory must be in \[0, 1\), got 1"),
    ],
)
def test_bad_arguments_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_method(make_data(), **{**TWO, **settings})


def test_margins_are_averaged_over_the_forwards_of_both_networks() -> None:
    data = make_data()
    method = make_method(data, **TWO)
    fit(method, data, epochs=2)
    assert (method.margins.totals[:, 1] == 2).all()
    assert BATCH * 3 == SIZE
    assert method.scores()["margin"].shape == (SIZE,)
    recent = method.scores()["recent_confidence"]
    found = method.measure()
    assert 0 < recent.min() < recent.max() < 1
    assert found.confidence["first"].shape == recent.shape


def test_suspects_are_ordered_by_what_a_method_has() -> None:
    data = make_data()
    one, two = make_method(data, **ABLATIONS["ce"]), make_method(data, **TWO)
    assert (one.suspects_by, two.suspects_by) == ("margin", "confidence")
    fit(two, data, epochs=2)
    assert two.suspects_by == "recent_confidence"
    assert set(one.scores()) == {"margin"}


def test_a_checkpoint_from_before_margins_were_kept_still_loads() -> None:
    method = make_method(make_data(), **TWO)
    method.margins.totals.fill_(1)
    older = {k: v for k, v in state(method).items() if not k.startswith(("margins", "recent"))}
    assert len(older) == len(state(method)) - 2
    again = make_method(make_data(), **TWO)
    again.load_state_dict(older)
    assert not again.margins.totals.any()
