"""Methods that are a loss: what they minimise, what they leave out, what they refuse."""

from typing import Any

import pytest
import torch
from every import METHODS, build, settings_of
from toy import fit, make_data, make_setting, train_batches

from pmnar.errors import InputError
from pmnar.losses import generalised_cross_entropy
from pmnar.methods import MixUp, Plain, TruncatedGCE
from pmnar.methods.measurement import Measurement
from pmnar.methods.mixing import Mixing
from pmnar.methods.plain import LOSSES

PLAIN = [name for name in METHODS if settings_of(name)["_target_"] == "pmnar.methods.Plain"]


def test_every_loss_is_the_default_of_a_method() -> None:
    assert {settings_of(name)["loss"] for name in PLAIN} == set(LOSSES)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("networks", [1, 2])
def test_the_loss_is_the_loss_of_the_given_labels(name: str, networks: int) -> None:
    data = make_data()
    method = build(name, data, networks=networks)
    batch = next(train_batches(data))
    shared = ("_target_", "name", "networks", "loss", "gradient_clip")
    settings = settings_of(name)
    options = {key: value for key, value in settings.items() if key not in shared}
    logits = method.networks.logits(batch.views)
    for network, terms in method.losses(batch).items():
        expected = LOSSES[settings["loss"]](logits[network][0], batch.labels, **options)
        assert torch.equal(terms[f"loss_{network}"], expected)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Plain, {"loss": "focal"}, "method.loss must be one of label_smoothing, .* got focal"),
        (Plain, {"loss": "gce", "q": 0.0}, r"method.q must be in \(0, 1\], got 0.0"),
        (Plain, {"loss": "mae", "networks": 3}, "method.networks must be 1 or 2, got 3"),
        (MixUp, {"alpha": 0.0}, "method.alpha must be over 0, got 0.0"),
        (TruncatedGCE, {"networks": 2}, "method.networks must be 1 for truncated GCE, got 2"),
        (TruncatedGCE, {"q": 2.0}, r"method.q must be in \(0, 1\], got 2.0"),
        (TruncatedGCE, {"threshold": 1.0}, r"method.threshold must be in \[0, 1\), got 1.0"),
        (TruncatedGCE, {"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
        (TruncatedGCE, {"prune_every": 0}, "method.prune_every must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_told(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(make_setting(make_data(("weak",))), **settings)


def test_a_mixed_batch_s_loss_is_the_two_labels_own() -> None:
    """`λ · ce(y) + (1 − λ) · ce(y')` of the mixed image, sample by sample."""
    data = make_data(("weak",))
    method = build("mixup", data)
    batch = next(train_batches(data))
    assert batch.share is not None
    mixing = Mixing([batch.share], 1.0)
    weight, partners = float(mixing.weight), mixing.partners([torch.arange(20)])
    images = batch.views[0]
    mixed = torch.stack(
        [weight * images[i] + (1 - weight) * images[j] for i, j in enumerate(partners)]
    )
    log_p = method.networks["first"](mixed).log_softmax(-1)
    found = method.losses(batch)["first"]["loss_first"]
    for i, j in enumerate(partners.tolist()):
        given, other = batch.labels[i], batch.labels[j]
        expected = -weight * log_p[i, given] - (1 - weight) * log_p[i, other]
        torch.testing.assert_close(found[i], expected)


def test_pruning_leaves_out_unlikely_labels_and_takes_them_back() -> None:
    data = make_data()
    method = build("truncated_gce", data, warmup_epochs=2, prune_every=2)
    assert isinstance(method, TruncatedGCE)
    kept = []
    for epoch in range(1, 6):
        confidence = torch.rand(60, generator=torch.Generator().manual_seed(epoch))
        method.measurement = Measurement({"first": confidence}, {}, {}, {})
        method.prepare_epoch(epoch)
        kept.append(method.kept.clone())
        if epoch in (3, 5):
            assert torch.equal(method.kept, confidence > 0.5)
    assert kept[0].all()
    assert kept[1].all()
    assert torch.equal(kept[2], kept[3])
    assert (kept[4] & ~kept[2]).any()
    assert torch.equal(method.scores()["kept"], kept[4].float())
    assert method.record["kept"] == pytest.approx(float(kept[4].float().mean()))
    assert method.events() == {"first pruning": 2}


def test_what_is_left_out_has_the_loss_of_the_threshold_and_no_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = make_data()
    method = build("truncated_gce", data)
    assert isinstance(method, TruncatedGCE)
    batch = next(train_batches(data))
    out = torch.arange(20) % 2 == 0
    method.kept[batch.indices] = ~out
    logits = method.networks.logits(batch.views)["first"][0].detach().requires_grad_()
    monkeypatch.setattr(method.networks, "logits", lambda views: {"first": (logits,)})
    loss = method.losses(batch)["first"]["loss_first"]
    expected = generalised_cross_entropy(logits, batch.labels, 0.7)
    assert torch.equal(loss[~out], expected[~out])
    torch.testing.assert_close(loss[out], torch.full((10,), (1 - 0.5**0.7) / 0.7))
    gradient = torch.autograd.grad(loss.sum(), logits)[0]
    assert not gradient[out].any()
    assert gradient[~out].any(-1).all()


def test_nothing_kept_is_no_crash() -> None:
    data = make_data()
    method = build("truncated_gce", data, threshold=0.999, warmup_epochs=0)
    fit(method, data, epochs=2)
    assert method.record["kept"] == 0
