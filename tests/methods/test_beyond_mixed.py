"""PMNAR on mixed strong views, and what holds for all of its switches."""

from pathlib import Path
from typing import Any

import pytest
import torch
from beyond import ALL, EXACT, TWO, plain, weighted
from toy import (
    ABLATIONS,
    BATCH,
    SIZE,
    fit,
    make_data,
    make_method,
    same_state,
    state,
    terms_of,
)

from pmnar.data import Batch
from pmnar.errors import InputError
from pmnar.methods.mixing import Mixing
from pmnar.methods.pmnar_mixed import ALPHA, refurbished
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.run_folder import CHECKPOINT

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
        ({"weights": "some"}, r"method\.weights must be one of absolute, relative, .*, got some"),
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
