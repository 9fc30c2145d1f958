"""DivideMix and UNICON: divisions at their bounds, and what they are told wrongly."""

from collections.abc import Callable
from functools import partial
from math import log
from typing import Any

import pytest
import torch
from every import build
from torch import Tensor
from toy import FewDigits, GivenAsTheyAre, TinyNet, fit, make_data, make_setting, train_batches

from pmnar.data import NoisyDataModule, Share
from pmnar.errors import InputError
from pmnar.methods import UNICON, DivideMix
from pmnar.methods.semi_supervised import SemiSupervised, prior_penalty
from pmnar.runtime.compute import Compute


def made(
    name: str, data: NoisyDataModule, network: Callable[[], Any] = TinyNet, **settings: Any
) -> SemiSupervised:
    method = build(name, data, network, 0.02, **settings)
    assert isinstance(method, SemiSupervised)
    return method


def clean_but(places: Callable[[int], bool], otherwise: float = 0.1) -> Callable[..., Tensor]:
    """A mixture that calls all samples clean but those at some places."""

    def found(losses: Tensor, seed: int) -> Tensor:
        return torch.tensor([otherwise if places(i) else 0.9 for i in range(len(losses))])

    return found


@pytest.mark.parametrize(
    ("mixture", "labelled"),
    [
        (clean_but(lambda i: False), 60),
        (clean_but(lambda i: True), 20),  # a batch of the likeliest
        (clean_but(lambda i: True, 0.0), 20),
        (clean_but(lambda i: i >= 3), 20),
        (clean_but(lambda i: i == 5), 59),  # one is too few for a batch
        (clean_but(lambda i: i % 10 == 3), 54),  # digits come in their order: a whole class
        (clean_but(lambda i: i >= 21), 21),  # the last batch would have one
    ],
)
@pytest.mark.parametrize("predict_by", ["running", "batch"])
def test_any_mixture_is_trained_on(
    mixture: Callable[..., Tensor],
    labelled: int,
    predict_by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pmnar.methods.dividemix.clean_probability", mixture)
    data = make_data()
    method = made("dividemix", data, predict_by=predict_by)
    fit(method, data, epochs=3)
    assert method.labelled.sum(1).tolist() == [labelled, labelled]
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert ("loss_unlabelled" in method.record) == (labelled < 59)


@pytest.mark.parametrize(("share", "labelled"), [(1.0, None), (1e-9, 20), (0.5, 30)])
def test_any_share_of_each_class_is_trained_on(
    share: float, labelled: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At R = 1 what has no label is what a class has too much of; at R = 0 two a class have one."""
    monkeypatch.setattr("pmnar.methods.unicon.selected_share", lambda *_: share)
    data = make_data(noise=GivenAsTheyAre(), source=FewDigits(labels=torch.arange(60) % 10))
    method = made("unicon", data)
    fit(method, data, epochs=3)
    assert method.labelled.sum(1).tolist() == [labelled or 60] * 2
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert ("loss_unlabelled" in method.record) == (labelled is not None)


@pytest.mark.parametrize("name", ["dividemix", "unicon"])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("rare", [1, 0])
def test_a_class_with_one_sample_or_none_is_trained_on(name: str, classes: int, rare: int) -> None:
    labels = torch.arange(60) % (classes - 1)
    labels[7 : 7 + rare] = classes - 1
    data = make_data(noise=GivenAsTheyAre(), source=FewDigits(labels=labels))
    names = tuple(map(str, range(classes)))
    method = made(name, data, partial(TinyNet, classes), class_names=names)
    fit(method, data, epochs=3, limit_val_batches=0)
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert set(method.scores()) == {"clean_probability"}


def test_a_warm_up_s_batch_too_small_for_the_devices_is_told() -> None:
    data = make_data()
    setting = make_setting(data, compute=Compute(devices=3))
    method = DivideMix(setting, warmup_batch_size=5)
    with pytest.raises(InputError, match="warmup_batch_size must be at least 6, two for each dev"):
        method.attach(data)
    DivideMix(setting, warmup_batch_size=6).attach(data)


def test_too_few_labelled_for_the_devices_are_told() -> None:
    data = make_data()
    method = made("dividemix", data, warmup_epochs=0)
    [batch, *_] = train_batches(data)
    assert set(batch.parts) == {"labelled first", "labelled second"}
    left = {part.replace("labelled", "unlabelled"): each for part, each in batch.parts.items()}
    with pytest.raises(InputError, match=r"too few samples are labelled for the first network"):
        method.losses(batch._replace(parts=left))


def test_without_a_warm_up_the_first_epoch_takes_every_label_for_right() -> None:
    data = make_data()
    method = made("dividemix", data, warmup_epochs=0)
    fit(method, data, epochs=2)
    assert not method.clean.eq(1).all()


def test_a_run_within_its_warm_up_is_told_and_has_no_opinion() -> None:
    data = make_data()
    method = made("dividemix", data, warmup_epochs=3)
    fit(method, data, epochs=2)
    assert method.scores() == {}
    assert method.advice(4) is None
    assert method.events() == {"warm-up ends": 3}
    advice = method.advice(3)
    assert advice is not None
    assert "method.warmup_epochs=3 is not below trainer.max_epochs=3" in advice


# -- parts ----------------------------------------------------------------------------------------


def test_the_prior_s_penalty_is_0_where_classes_are_predicted_alike() -> None:
    share = Share(0, 4)
    assert float(prior_penalty([torch.eye(4) * 3], [share])) == pytest.approx(0, abs=1e-6)
    z = torch.tensor([[1e4, 0.0], [1e4, 0.0]], requires_grad=True)
    penalty = prior_penalty([z, z], [Share(0, 2)] * 2)
    assert float(penalty.detach()) == pytest.approx(1e4 / 2 - log(2), rel=1e-5)
    assert torch.autograd.grad(penalty, z)[0].isfinite().all()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (DivideMix, {"networks": 1}, "method.networks must be 2 for this method, got 1"),
        (DivideMix, {"warmup_epochs": -1}, "method.warmup_epochs must be at least 0, got -1"),
        (DivideMix, {"ramp_epochs": -1}, "method.ramp_epochs must be at least 0, got -1"),
        (DivideMix, {"warmup_batch_size": 1}, "method.warmup_batch_size must be at least 2, or"),
        (DivideMix, {"alpha": 0.0}, "method.alpha must be over 0, got 0.0"),
        (DivideMix, {"temperature": 0.0}, "method.temperature must be over 0, got 0.0"),
        (DivideMix, {"strength": -1.0}, "method.strength must be at least 0, got -1.0"),
        (DivideMix, {"predict_by": "all"}, "method.predict_by must be one of running, batch, got"),
        (DivideMix, {"threshold": 1.0}, r"method.threshold must be in \[0, 1\), got 1.0"),
        (DivideMix, {"history": 0}, "method.history must be at least 1, got 0"),
        (UNICON, {"jsd_base": 10}, "method.jsd_base must be one of e, 2, got 10"),
        (UNICON, {"divisor": 0.0}, "method.divisor must be over 0, got 0.0"),
        (UNICON, {"contrast_temperature": 0.0}, "method.contrast_temperature must be over 0, got"),
        (UNICON, {"contrast_strength": -1.0}, "method.contrast_strength must be at least 0, got"),
        (UNICON, {"projection": 0}, "method.projection must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_told(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(make_setting(make_data(("weak",))), **settings)
