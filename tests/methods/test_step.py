"""One step computed in different ways: threads, one forward of all views, compilation."""

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
    same_state,
    state,
    terms_of,
    train_batches,
)

from pmnar.errors import InputError
from pmnar.methods import PMNAR
from pmnar.methods.step import Step, check_compute
from pmnar.networks import PreActResNet18, SmallCNN
from pmnar.networks.split_norm import SplitBatchNorm2d, split_batch_norm

TWO: dict[str, Any] = ABLATIONS["pmnar"]


def trained(monkeypatch: pytest.MonkeyPatch, cores: int, **settings: Any) -> dict[str, Tensor]:
    monkeypatch.setattr("pmnar.methods.evaluation.cores", lambda: cores)
    data = make_data()
    method = make_method(data, **{**TWO, **settings})
    fit(method, data, epochs=3)
    assert method.networks.two_threads == (cores > 1)
    return state(method)


# -- a thread for each network --------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta": 0.0},
        {"detach_target": False},
        {"loss": "nl"},
        {"fused_forward": True},
        {"network": partial(SmallCNN, 10, width=4, dropout=0.5)},
    ],
    ids=str,
)
def test_two_threads_give_what_one_gives_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    assert same_state(trained(monkeypatch, 2, **settings), trained(monkeypatch, 1, **settings))


def threads_of_the_networks(method: PMNAR) -> set[str]:
    """The names of the threads that the networks' forwards ran in."""
    import threading

    seen: set[str] = set()
    for network in method.networks.values():
        network.register_forward_hook(lambda *_: seen.add(threading.current_thread().name))
    return seen


@pytest.mark.parametrize(
    ("settings", "threads"), [({}, 2), ({"precision": "bf16-mixed"}, 1)], ids=["32", "bf16"]
)
def test_the_second_network_has_a_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], threads: int
) -> None:
    """But for autocast, which the second thread would not know of."""
    monkeypatch.setattr("pmnar.methods.evaluation.cores", lambda: 2)
    data = make_data()
    method = make_method(data, **TWO)
    seen = threads_of_the_networks(method)
    fit(method, data, **settings)
    assert len(seen) == threads


def test_networks_that_draw_train_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmnar.methods.evaluation.cores", lambda: 2)
    data = make_data()
    method = make_method(data, network=partial(SmallCNN, 10, width=4, dropout=0.5), **TWO)
    fit(method, data, limit_train_batches=2)
    assert not method._step.in_threads


def test_an_error_in_the_second_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmnar.methods.evaluation.cores", lambda: 2)
    data = make_data()
    method = make_method(data, **TWO)
    calls = []

    def fail_at_the_third(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise ArithmeticError("second")

    method.networks["second"].register_forward_hook(fail_at_the_third)
    with pytest.raises(ArithmeticError, match="second"):
        fit(method, data)


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


def test_split_batch_norm_is_batch_norm_on_each_part() -> None:
    torch.manual_seed(0)
    split, plain = nn.Sequential(nn.BatchNorm2d(3)), nn.BatchNorm2d(3)
    split_batch_norm(split)
    split_batch_norm(split)  # a second time changes nothing
    layer = split[0]
    assert isinstance(layer, SplitBatchNorm2d)
    assert split.state_dict().keys() == nn.Sequential(plain).state_dict().keys()
    x = torch.randn(8, 3, 4, 4) * torch.arange(1, 9)[:, None, None, None]
    layer.parts = 2
    assert torch.equal(layer(x), torch.cat([plain(x[:4]), plain(x[4:])]))
    for one, other in zip(layer.buffers(), plain.buffers(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(layer.eval()(x), plain.eval()(x))


def test_other_kinds_of_batch_norm_are_refused() -> None:
    with pytest.raises(InputError, match=r"has BatchNorm1d; set fused_forward=false"):
        split_batch_norm(nn.Sequential(nn.BatchNorm1d(3)))


# -- compilation ----------------------------------------------------------------------------------


def test_compute_settings_are_checked() -> None:
    with pytest.raises(InputError, match=r"compile must be one of auto, off, .* got fast"):
        check_compute("fast", True)
    with pytest.raises(InputError, match="channels_last must be auto, true or false, got 2"):
        check_compute("off", "2")


def test_auto_compiles_nothing_on_a_cpu() -> None:
    method = make_method(make_data(), compile="auto", **TWO)
    assert Step(method, "auto").mode == "off"


def test_what_the_compiler_says_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def fails(*_: Any, **__: Any) -> Any:
        raise BackendCompilerFailed("inductor", RuntimeError("no compiler"), None)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    data = make_data()
    method = make_method(data, compile="default", **TWO)
    with pytest.raises(InputError, match=r"compile=default failed: .*; set compile=off"):
        fit(method, data)


@pytest.mark.parametrize("traced", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["pmnar", "ce", "nl"])
def test_compiled_training_is_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, traced: bool
) -> None:
    """With a last batch of fewer samples; the slow one by inductor, the other by its tracer."""
    if not traced:
        eager = partial(torch.compile, backend="aot_eager", dynamic=False)
        monkeypatch.setattr(torch, "compile", lambda f, **_: eager(f))
    found = []
    for mode in ("off", "default"):
        data = make_data(batch_size=32)
        method = make_method(data, compile=mode, lr=0.02, **ABLATIONS[name])
        trainer = fit(method, data, epochs=2)
        assert trainer.global_step == 4
        found.append(state(method))
    assert found[0].keys() == found[1].keys()
    for key, values in found[0].items():
        torch.testing.assert_close(found[1][key], values, rtol=1e-3, atol=1e-4, msg=key)


def test_only_full_batches_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watch(function: Any, **_: Any) -> Any:
        def compiled(views: Any, label: Tensor, known: Any) -> Any:
            sizes.append(len(label))
            return function(views, label, known)

        return compiled

    monkeypatch.setattr(torch, "compile", watch)
    data = make_data(batch_size=32)
    method = make_method(data, compile="default", **TWO)
    fit(method, data, epochs=2)
    assert sizes == [32, 32]


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
