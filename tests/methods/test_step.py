"""One step computed in different ways: threads, one forward of all views, compilation."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy import (
    ABLATIONS,
    TinyNet,
    fit,
    make_data,
    make_method,
    state,
    terms_of,
    train_batches,
)

from pmnar.errors import InputError
from pmnar.methods import PMNAR
from pmnar.networks import PreActResNet18, SmallCNN
from pmnar.networks.split_norm import SplitBatchNorm, split_batch_norm
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.compute import Compute
from pmnar.runtime.run_folder import CHECKPOINT

TWO: dict[str, Any] = ABLATIONS["pmnar"]


# -- one forward of all views ---------------------------------------------------------------------


def gradients(method: PMNAR) -> list[Tensor]:
    return [p.grad for p in method.networks.parameters() if p.grad is not None]


@pytest.mark.parametrize("network", [TinyNet, partial(PreActResNet18, 10, 1, 8)], ids=str)
def test_one_forward_of_all_views_equals_one_a_view(network: Any) -> None:
    """Losses, gradients and BatchNorm's running statistics, in 64 bits."""
    data = make_data()
    batch = next(train_batches(data))
    batch = batch._replace(views=tuple(view.double() for view in batch.views))
    methods = [make_method(data, network, fused_forward=f, **TWO).double() for f in (False, True)]
    terms = [terms_of(method, batch) for method in methods]
    for found in terms:
        torch.autograd.backward(torch.stack(list(found.values())).sum())
    for name, values in terms[0].items():
        torch.testing.assert_close(terms[1][name], values, rtol=1e-9, atol=1e-12)
    for one, other in zip(*map(gradients, methods), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)
    for (name, one), other in zip(
        methods[0].networks.state_dict().items(),
        methods[1].networks.state_dict().values(),
        strict=True,
    ):
        torch.testing.assert_close(one, other, msg=name)


def test_one_forward_a_network_where_it_is_asked_for() -> None:
    data = make_data()
    method = make_method(data, fused_forward=True, **TWO)
    shapes: list[int] = []
    for network in method.networks.values():
        network.register_forward_hook(lambda _, inputs, __: shapes.append(len(inputs[0])))
    terms_of(method, next(train_batches(data)))
    assert shapes == [40, 40]


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_split_batch_norm_is_batch_norm_on_each_part(kind: Any) -> None:
    torch.manual_seed(0)
    split, plain = nn.Sequential(kind(3)), kind(3)
    split_batch_norm(split)
    split_batch_norm(split)  # a second time changes nothing
    layer = split[0]
    assert isinstance(layer, SplitBatchNorm)
    assert isinstance(layer, kind)
    assert split.state_dict().keys() == nn.Sequential(plain).state_dict().keys()
    x = torch.randn(8, 3, 4, 4) * torch.arange(1, 9)[:, None, None, None]
    x = x[:, :, 0, 0] if kind is nn.BatchNorm1d else x
    layer.parts = 2
    assert torch.equal(layer(x), torch.cat([plain(x[:4]), plain(x[4:])]))
    for one, other in zip(layer.buffers(), plain.buffers(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(layer.eval()(x), plain.eval()(x))


def test_other_kinds_of_batch_norm_are_refused() -> None:
    with pytest.raises(InputError, match=r"has BatchNorm3d; set compute.fused_forward=false"):
        split_batch_norm(nn.Sequential(nn.BatchNorm3d(3)))


# -- compilation ----------------------------------------------------------------------------------


def test_compute_settings_are_checked() -> None:
    with pytest.raises(InputError, match=r"compute.compile must be one of auto, off, .* got fast"):
        Compute(compile="fast")
    with pytest.raises(InputError, match=r"compute.channels_last must be auto, true or .* got 2"):
        Compute(channels_last="2")


def test_auto_compiles_nothing_on_a_cpu() -> None:
    data = make_data()
    method = make_method(data, compile="auto", **TWO)
    fit(method, data)
    assert method.networks.compiled_by == "off"


def test_what_the_compiler_says_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def fails(*_: Any, **__: Any) -> Any:
        raise BackendCompilerFailed("inductor", RuntimeError("no compiler"), None)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    data = make_data()
    method = make_method(data, compile="default", **TWO)
    line = r"compute.compile=default failed: .*; set compute.compile=off"
    with pytest.raises(InputError, match=line):
        fit(method, data)


@pytest.mark.parametrize("traced", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["pmnar", "ce", "nl"])
def test_compiled_training_is_training(
    monkeypatch: pytest.MonkeyPatch, name: str, fused: bool, traced: bool
) -> None:
    """With a last batch of fewer samples; the slow one by inductor, the other by its tracer."""
    if not traced:
        eager = partial(torch.compile, backend="aot_eager", dynamic=False)
        monkeypatch.setattr(torch, "compile", lambda f, **_: eager(f))
    found = []
    for mode in ("off", "default"):
        data = make_data(batch_size=32)
        settings = ABLATIONS[name] | {"compile": mode, "fused_forward": fused}
        method = make_method(data, lr=0.02, **settings)
        trainer = fit(method, data, epochs=2)
        assert trainer.global_step == 4
        found.append(state(method))
    assert found[0].keys() == found[1].keys()
    for key, values in found[0].items():
        torch.testing.assert_close(found[1][key], values, rtol=1e-3, atol=1e-4, msg=key)


def test_only_full_batches_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watch(function: Any, **_: Any) -> Any:
        def compiled(images: Tensor) -> Any:
            sizes.append(len(images))
            return function(images)

        return compiled

    monkeypatch.setattr(torch, "compile", watch)
    data = make_data(batch_size=32)
    method = make_method(data, compile="default", **TWO)
    fit(method, data, epochs=2)
    assert sizes == [32] * 8  # of two networks, two views, in two epochs


def test_many_runs_in_a_process_are_all_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch gives up on a function that it has compiled eight times; a sweep has more jobs."""
    eager = partial(torch.compile, backend="aot_eager", dynamic=False)
    monkeypatch.setattr(torch, "compile", lambda f, **_: eager(f))
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    for beta in (0.5, 1.0, 2.0, 4.0):
        data = make_data()
        fit(make_method(data, **TWO | {"beta": beta, "compile": "default"}), data)


# -- layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chosen", "expected"), [("auto", False), (True, True), (False, False)])
def test_layout_of_the_images(chosen: Any, expected: bool) -> None:
    data = make_data()
    method = make_method(data, network=partial(SmallCNN, 10, width=8), channels_last=chosen, **TWO)
    laid_out: set[bool] = set()
    for network in method.networks.values():
        network.get_submodule("features.3").register_forward_hook(
            lambda _, inputs, __: laid_out.add(
                inputs[0].is_contiguous(memory_format=torch.channels_last)
            )
        )
    fit(method, data)
    assert laid_out == {expected}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_a_run_goes_on_in_another_layout(tmp_path: Path, before: bool, fused: bool) -> None:
    """Momentum is laid out anew: the fused optimiser goes through memory as it lies."""
    data = make_data()
    io: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    network = partial(SmallCNN, 10, width=8)
    optimizer = partial(torch.optim.SGD, lr=0.02, momentum=0.9, fused=fused)
    first = make_method(data, network, channels_last=before, **TWO)
    first._setting = replace(first._setting, optimizer=optimizer)
    fit(first, data, 1, [RunCheckpoint(tmp_path)], **io)
    found = []
    for layout in (before, not before):
        again = make_method(data, network, channels_last=layout, **TWO)
        again._setting = replace(again._setting, optimizer=optimizer)
        checkpoint = tmp_path / CHECKPOINT
        fit(again, data, 2, [RunCheckpoint(tmp_path / str(layout))], checkpoint, **io)
        found.append(state(again))
    for key, values in found[0].items():
        torch.testing.assert_close(found[1][key], values, rtol=1e-4, atol=1e-5, msg=key)


def test_synchronised_batch_norm_cannot_be_split() -> None:
    data = make_data()
    method = make_method(data, fused_forward=True, **TWO)
    convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
    method.networks["first"] = convert(method.networks["first"])
    with pytest.raises(InputError, match=r"has SyncBatchNorm; set compute.fused_forward=false"):
        fit(method, data)
