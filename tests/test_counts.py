"""What a training step consists of, counted: passes, FLOPs, operators, reads of the device."""

from typing import Any

import pytest
from every import METHODS, settings_of

from benchmarks.counts import Passes, network_flops, on_meta, passes
from benchmarks.meta import MetaEpoch
from benchmarks.operators import READS, operators
from benchmarks.runs import RESNET, configuration
from pmnar.methods import PMNAR

PASSES = {
    "ce": Passes(1, 0),
    "nl": Passes(1, 0),
    "ml": Passes(1, 1),
    "pm": Passes(1, 1),
    "ce_ar": Passes(1, 1),
    "pm_ar": Passes(1, 1),
    "pmnar_no_reg": Passes(2, 2),
    "pmnar": Passes(4, 2),
    "gce": Passes(1, 0),
    "mixup": Passes(1, 0),
    "elr": Passes(1, 0),
    "elr_plus": Passes(2, 2),
    "sop": Passes(1, 0),
    "sop_plus": Passes(2, 0),
    "m_correction": Passes(1, 3),
    "disc": Passes(4, 0),
    "nct": Passes(2, 0),
    "co_teaching": Passes(2, 0),
    "co_teaching_plus": Passes(2, 0),
    "decoupling": Passes(2, 0),
    "jocor": Passes(2, 0),
    "linear_probe": Passes(0, 1),
    "knn": Passes(0, 0),
    "ssr": Passes(2, 1),
    "ssr_plus": Passes(3, 2),
    "l2rw": Passes(3, 0),  # the clean batch, which is as large, and a derivative along a direction
    "meta_weight_net": Passes(4, 0),  # and the step ahead
}
"""Times that an epoch after the warm-up shows an image to a network: to train it, and otherwise."""


def tiny_on_meta(method: str, *overrides: str, classes: int = 10) -> MetaEpoch:
    """Two full batches and a smaller one, with a tiny network on images of CIFAR's shape."""
    settings = ["optimizer.fused=false", "data.batch_size=8", f"method={method}"]
    if (own := "warmup_batch_size") in settings_of(method):
        settings.append(f"method.{own}=null")  # the recipe's is larger than all images together
    images = {"samples": 20, "classes": classes}
    return MetaEpoch(configuration(*RESNET, *settings, *overrides, images=images, tiny=True))


def test_preact_resnet18_takes_the_operations_that_are_published() -> None:
    forward, both = network_flops()
    assert round(forward / 1e9, 3) == 1.111
    assert round(both / 1e9, 3) == 3.329
    # Backward is two products a layer, but for the first one's gradient of its input.
    first_layer = 2 * (64 * 3 * 3 * 3) * (32 * 32)
    assert both == 3 * forward - first_layer


@pytest.mark.parametrize("method", PASSES)
def test_no_network_sees_an_image_more_often_than_the_method_says(method: str) -> None:
    assert passes(method) == PASSES[method]


def test_an_epoch_costs_14_thirds_of_cross_entropy() -> None:
    assert PASSES["pmnar"].flops(1, 3) / PASSES["ce"].flops(1, 3) == 14 / 3


def test_a_step_takes_four_forwards_and_backwards_and_the_pass_two_forwards() -> None:
    forward, both = network_flops()
    epoch = on_meta("pmnar")
    assert epoch.steps == 2
    assert epoch.step_flops == 4 * both
    assert epoch.pass_flops == 2 * forward


@pytest.mark.parametrize("method", METHODS)
def test_the_host_reads_nothing_from_the_device_in_any_step(method: str) -> None:
    assert tiny_on_meta(method).steps == 3


@pytest.mark.parametrize(
    "change",
    [
        "compute.fused_forward=true",
        "compute.channels_last=true",
        "method.gradient_clip=1.0",
        "method.detach_target=false",
        "dataset.views.strong=randaugment",
        "dataset.views.cutout=8",
        "data.resident=host",
    ],
)
def test_nor_does_it_with_other_settings(change: str) -> None:
    assert tiny_on_meta("pmnar", change).steps == 3


def test_nor_with_classes_too_many_for_bits() -> None:
    assert tiny_on_meta("pmnar", classes=300).steps == 3


def test_a_read_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = PMNAR.losses

    def reading(self: PMNAR, batch: Any) -> Any:
        assert self.sample_weights.min().item() >= 0
        return given(self, batch)

    monkeypatch.setattr(PMNAR, "losses", reading)
    with pytest.raises(RuntimeError, match="meta"):
        tiny_on_meta("pmnar")


def test_operators_that_read_are_counted_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "_local_scalar_dense" in READS
    found = operators("pmnar", batch=8)
    assert sum(found["reads"].values()) == 0
    assert found["operators"]["optimiser"] <= 2  # a fused one for each network
    given = PMNAR.losses
    monkeypatch.setattr(PMNAR, "losses", lambda self, batch: given(_read(self), batch))
    found = operators("pmnar", batch=8)
    assert found["reads"]["forward"] == 2  # steps that are counted


def _read(method: PMNAR) -> PMNAR:
    float(method.sample_weights.min())
    return method


def test_cross_entropy_needs_a_quarter_of_the_operators() -> None:
    ce, pmnar = (operators(m, batch=8)["operators"] for m in ("ce", "pmnar"))
    assert 3.5 < pmnar["backward"] / ce["backward"] < 5
    assert pmnar["views"] > ce["views"] > 0
