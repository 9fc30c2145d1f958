"""PMNAR's switches beyond its paper, between epochs: weights, when it begins, statistics."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from beyond import EXACT, TWO
from torch import Tensor
from toy import (
    ABLATIONS,
    SIZE,
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

from pmnar.networks import SmallCNN
from pmnar.samples.neighbours import balanced_votes
from pmnar.samples.reweighting import relative_weights

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


@pytest.mark.parametrize(("differ", "trusted"), [(60, 0.0), (15, 0.5), (0, 1.0)])
def test_trusted_weights_are_as_relative_as_the_networks_agree(differ: int, trusted: float) -> None:
    method, relative = (
        make_method(make_data(), weights=kind, **TWO) for kind in ("trusted", "relative")
    )
    first = torch.arange(SIZE) % 10
    second = torch.where(torch.arange(SIZE) < differ, (first + 1) % 10, first)
    now = torch.rand(SIZE, 10, generator=torch.Generator().manual_seed(0))
    for each in (method, relative):
        said = {"first": first, "second": second}
        each.measurement = replace(measured(), prediction=said, kept={"mean": now})
        each.prepare_epoch(2)
    kappa = method.record["agreement"]
    assert max(0.0, 2 * kappa - 1) == pytest.approx(trusted, abs=0.06)
    strength = max(0.0, 2 * kappa - 1)
    EXACT(method.sample_weights, 1 - strength * (1 - relative.sample_weights))


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
    assert prepare(4, known, unsure)  # what has begun goes on
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
