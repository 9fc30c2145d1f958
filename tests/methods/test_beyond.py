"""PMNAR's switches beyond its paper: each is an identity, in float64 against plain loops."""

import pytest
import torch
from beyond import EXACT, TWO, divergence, plain, weighted
from toy import (
    SIZE,
    fit,
    make_data,
    make_method,
    state,
    terms_of,
)

from pmnar.methods.terms import total
from pmnar.samples.targets import sharpened


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
