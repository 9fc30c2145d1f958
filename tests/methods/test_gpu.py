"""Training on a CUDA device: `make test-gpu`."""

from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from toy import ABLATIONS, fit, make_data, make_method, same_state, state

from pmnar.networks import PreActResNet18
from pmnar.runtime.compute import COMPILE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TWO: dict[str, Any] = ABLATIONS["pmnar"]
NETWORK = partial(PreActResNet18, 10, 1, 8)
ON_CUDA: dict[str, Any] = {"accelerator": "cuda", "deterministic": True}


class ErrorWhereItWaits(Callback):
    """From the second step's end to the last one's, any wait for the device is an error."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        torch.cuda.set_sync_debug_mode("default" if last else "error")

    def on_exception(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_step_waits_for_the_device(name: str, precision: str) -> None:
    data = make_data()
    method = make_method(data, NETWORK, **ABLATIONS[name])
    fit(method, data, epochs=2, callbacks=[ErrorWhereItWaits()], precision=precision, **ON_CUDA)


def test_two_runs_are_equal_to_the_bit() -> None:
    states = []
    for _ in range(2):
        data = make_data()
        method = make_method(data, NETWORK, **TWO)
        fit(method, data, epochs=2, **ON_CUDA)
        states.append(state(method))
    assert same_state(*states)


def test_a_short_run_is_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 32 bits, a low rate and no TF32, so that rounding has no time to grow."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    found = []
    for settings in ({}, ON_CUDA):
        data = make_data()
        method = make_method(data, NETWORK, lr=1e-3, **TWO)
        fit(method, data, **settings)
        found.append({key: value.cpu() for key, value in state(method).items()})
    for key, values in found[0].items():
        torch.testing.assert_close(found[1][key], values, rtol=1e-3, atol=1e-3, msg=key)


@pytest.mark.parametrize("mode", COMPILE)
@pytest.mark.parametrize("fused", [False, True])
def test_every_way_of_compiling_trains(mode: str, fused: bool) -> None:
    """With a last batch of fewer samples, against the same run uncompiled."""
    found = []
    for chosen in ("off", mode):
        data = make_data(batch_size=32)
        method = make_method(data, NETWORK, lr=1e-3, compile=chosen, fused_forward=fused, **TWO)
        fit(method, data, epochs=2, **ON_CUDA)
        found.append(state(method))
    assert found[0].keys() == found[1].keys()
    for key, values in found[0].items():
        torch.testing.assert_close(found[1][key], values, rtol=1e-2, atol=1e-3, msg=key)


@pytest.mark.parametrize("resident", ["device", "host", "stream"])
def test_where_the_images_live_changes_nothing(resident: str) -> None:
    states = []
    for place in ("device", resident):
        data = make_data(resident=place)
        method = make_method(data, NETWORK, **TWO)
        fit(method, data, epochs=2, **ON_CUDA)
        states.append(state(method))
    assert same_state(*states)


def test_images_are_laid_out_pixel_by_pixel() -> None:
    data = make_data()
    method = make_method(data, NETWORK, **TWO)
    fit(method, data, **ON_CUDA)
    assert method.networks.channels_last
    weight = method.networks.get_submodule("first.blocks.0.conv1").weight
    assert isinstance(weight, torch.Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last)
