"""PMNAR and its ablations."""

from pathlib import Path
from typing import Any

import pytest
import torch
from every import METHODS, settings_of
from omegaconf import OmegaConf
from torch import Tensor, nn
from toy import (
    ABLATIONS,
    BATCH,
    SIZE,
    fit,
    make_data,
    make_method,
    measured,
    prepared,
    same_state,
    sets,
    state,
    store_of,
    terms_of,
    train_batches,
)

from pmnar import losses
from pmnar.samples.reweighting import adaptive_weights

CONFIGS = Path(__file__).parents[2] / "conf" / "method"
STEPS = SIZE // BATCH
TWO = ABLATIONS["pmnar"]


# -- the ablations --------------------------------------------------------------------------------


def test_every_config_is_a_row_of_the_table() -> None:
    def settings(name: str) -> Any:
        return OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"), resolve=False)

    of_pmnar = {name for name in METHODS if settings_of(name)["_target_"] == "pmnar.methods.PMNAR"}
    assert of_pmnar == {*ABLATIONS, "pmnar_plus"}
    shared = settings("pmnar")
    for name, expected in ABLATIONS.items():
        row = {**shared, **settings(name)}
        assert row["name"] == name
        found = {key: row[key] for key in expected}
        assert found == expected
    assert (shared["minimum"], shared["weight_balance"]) == ("global", "none")
    assert (shared["discard_by"], shared["detach_target"]) == ("first", True)


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_trains_past_its_warm_up(name: str) -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS[name])
    assert method.events() == ({} if name in ("ce", "nl") else {"warm-up ends": 1})
    before = state(method.networks)
    fit(method, data, epochs=2)
    after = state(method.networks)
    trained = [key for key, _ in method.networks.named_parameters()]
    assert all(not torch.equal(before[key], after[key]) for key in trained)
    row = method.rows[-1]
    terms = {"loss"} | {f"loss_{network}" for network in method.networks}
    terms |= {"loss_consistency"} if method.beta > 0 else set()
    assert {key for key in row if key.startswith("loss")} == terms
    if method.loss in ("ml", "pm"):
        assert row["complementary_size"] < 9
    else:
        assert method.complementary is None
        assert "complementary_size" not in row
    assert (method.weights is not None) == method.reweight
    assert ("mean_weight_first" in row) == method.reweight
    assert method.sample_weights.shape == (len(method.networks), SIZE)
    assert torch.equal(method.sample_weights, torch.ones_like(method.sample_weights)) == (
        not method.reweight
    )


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_s_loss_is_its_row_of_the_table(name: str) -> None:
    """One batch, with weights and a store that say something."""
    data = make_data()
    settings = ABLATIONS[name]
    method = prepared(measured(), **settings).eval()
    if not settings["reweight"]:
        assert (method.sample_weights == 1).all()
    for batch in train_batches(data):
        views = batch.views if settings["beta"] else batch.views[:1]
        batch = batch._replace(views=views)
        found = terms_of(method, batch)
        target = torch.stack([net(batch.views[0]).softmax(-1) for net in method.networks.values()])
        total = torch.zeros(BATCH)
        for position, (network_name, net) in enumerate(method.networks.items()):
            z, w = net(batch.views[0]), method.sample_weights[position, batch.indices]
            if settings["loss"] == "nl":
                continue
            if settings["loss"] == "ce":
                loss = losses.cross_entropy(z, batch.labels)
            else:
                loss = losses.multi_negative(z, store_of(method).mask(batch.indices))
            if settings["loss"] == "pm":
                loss = loss + losses.cross_entropy(z, batch.labels)
            torch.testing.assert_close(found[f"loss_{network_name}"], w * loss)
            if settings["beta"]:
                total = total + losses.consistency(net(batch.views[1]), target.mean(0))
        if settings["beta"]:
            torch.testing.assert_close(found["loss_consistency"], settings["beta"] * total)
        else:
            assert "loss_consistency" not in found


def test_an_emptied_store_unit_weights_and_no_consistency_train_as_plain_ce() -> None:
    data = make_data()
    ce, pm = make_method(data, **ABLATIONS["ce"]), make_method(data, **ABLATIONS["pm"])
    store_of(pm).bits.zero_()
    for method in (ce, pm):
        fit(method, data, epochs=3)
    assert same_state(state(ce.networks), state(pm.networks))
    assert [row["loss"] for row in ce.rows] == [row["loss"] for row in pm.rows]


# -- through real epochs --------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_the_store_and_the_weights_through_real_epochs(warmup: int) -> None:
    data = make_data()
    method = make_method(data, warmup_epochs=warmup, **TWO)
    full, labels = sets(method), data.splits["train"].labels
    fit(method, data, epochs=4)
    before = full
    for epoch, begun in enumerate(method.begun, start=1):
        store_of(method).bits.copy_(begun["complementary.bits"])
        store, weights = sets(method), begun["sample_weights"]
        assert not store[torch.arange(SIZE), labels].any(), "y is in S"
        assert not (store & ~before).any(), "S grew"
        before = store
        if epoch <= warmup:
            assert torch.equal(store, full)
            assert (weights == 1).all()
        else:
            assert store.sum() < full.sum()
            assert weights.amin(1).tolist() == [0.0, 0.0]
            assert weights.max() < 1


def test_consistency_acts_in_the_warm_up() -> None:
    data = make_data()
    weights = []
    for beta in (0.0, 1.0):
        method = make_method(data, warmup_epochs=5, **{**TWO, "beta": beta})
        fit(method, data)
        weights.append(state(method.networks))
        assert (method.rows[0].get("loss_consistency", 0.0) > 0) == (beta > 0)
    assert not same_state(*weights)


@pytest.mark.parametrize(("name", "forwards"), [("pmnar", 4), ("pmnar_no_reg", 2), ("ce", 1)])
def test_a_step_makes_no_forward_too_many(name: str, forwards: int) -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS[name])
    made: list[str] = []
    for network_name, network in method.networks.items():
        network.register_forward_hook(
            lambda module, x, y, who=network_name: made.append(who) if module.training else None
        )
    fit(method, data, epochs=2)
    assert len(made) == 2 * STEPS * forwards


def test_the_weights_in_use_are_the_confidences_of_the_other_network() -> None:
    data = make_data()
    method = make_method(data, **TWO)
    fit(method, data, epochs=2)
    found = method.measure()
    for position, other in enumerate(("second", "first")):
        expected = found.confidence[other] - found.confidence[other].min()
        assert torch.equal(method.sample_weights[position], expected)
    weights = method.weights
    assert weights is not None
    assert torch.equal(weights, method.sample_weights[0])


def test_exchanging_the_networks_exchanges_the_weights() -> None:
    data = make_data()
    method = make_method(data, **TWO)
    fit(method, data, epochs=2)
    before = method.sample_weights.clone()
    first, second = (state(net) for net in method.networks.values())
    method.networks["first"].load_state_dict(second)
    method.networks["second"].load_state_dict(first)
    method.measurement = None
    method.prepare_epoch(3)
    assert torch.equal(method.sample_weights, before.flip(0))
    assert not torch.equal(before[0], before[1])


def test_a_network_alone_weighs_for_itself() -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS["pm_ar"])
    fit(method, data, epochs=2)
    expected = adaptive_weights(method.measure().confidence["first"])
    assert torch.equal(method.sample_weights, expected[None])


# -- the consistency target -----------------------------------------------------------------------


@pytest.mark.parametrize("detach", [True, False])
def test_the_target_gets_a_gradient_only_where_asked(detach: bool) -> None:
    data = make_data()
    method = make_method(data, detach_target=detach, **TWO)
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    for network in method.networks.values():
        network.register_forward_hook(keep)
    loss = terms_of(method, next(train_batches(data)))["loss_consistency"]
    torch.autograd.backward(loss.sum())
    weak, strong = outputs[::2], outputs[1::2]
    assert all(z.grad is not None and z.grad.any() for z in strong)
    for z in weak:
        assert (z.grad is None or not z.grad.any()) == detach
