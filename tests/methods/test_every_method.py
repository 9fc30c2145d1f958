"""What holds for every method found in conf/method (DESIGN.md's guarantees)."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from every import METHODS, build
from ranks import Gradients, forked
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from toy import (
    SIZE,
    FewDigits,
    NoNorm,
    TinyNet,
    fit,
    make_data,
    same_state,
    state,
    train_batches,
)

from pmnar.data import Batch, NoisyDataModule
from pmnar.methods import NoisyLabelMethod
from pmnar.methods.sums import EpochSums
from pmnar.methods.terms import sums, total
from pmnar.networks import SmallCNN
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.run_folder import CHECKPOINT

EPOCHS = 4
NOTHING_TO_TRAIN = ("knn",)
TWO_NETWORKS = [name for name in METHODS if len(build(name, make_data()).networks) == 2]


class Dropping(TinyNet):
    """A network that draws numbers itself."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(nn.functional.dropout(x, 0.2, self.training))


@pytest.mark.parametrize("name", METHODS)
def test_it_trains_every_parameter_and_records_its_losses(name: str) -> None:
    data = make_data()
    method = build(name, data)
    before = state(method.networks)
    fit(method, data, epochs=EPOCHS)
    after = state(method.networks)
    for key, parameter in method.networks.named_parameters():
        stays = not parameter.requires_grad or name in NOTHING_TO_TRAIN
        assert torch.equal(before[key], after[key]) == stays, key
    losses = {key: value for key, value in method.record.items() if key.startswith("loss")}
    assert {"loss"} | {f"loss_{network}" for network in method.networks} <= set(losses)
    assert sum(v for k, v in losses.items() if k != "loss") == pytest.approx(losses["loss"])


# -- exact resume ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_stopped_after_any_epoch_it_ends_as_unbroken(name: str, tmp_path: Path) -> None:
    io: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    data = make_data()
    whole = build(name, data, Dropping)
    fit(whole, data, EPOCHS)
    for epoch in range(1, EPOCHS):
        folder = tmp_path / str(epoch)
        fit(build(name, data, Dropping), data, epoch, [RunCheckpoint(folder)], **io)
        again = build(name, data, Dropping)
        fit(again, data, EPOCHS, [RunCheckpoint(folder)], folder / CHECKPOINT, **io)
        assert same_state(state(whole), state(again)), epoch


# -- ranks ----------------------------------------------------------------------------------------


@pytest.mark.ddp
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", METHODS)
def test_ranks_gradients_are_one_process_s_and_so_are_buffers(
    name: str, ranks: int, tmp_path: Path
) -> None:
    """With shares that are uneven: 59 samples in batches of 20.

    Of 51 there would be divisions whose last batch is too small for three ranks, who leave it out.
    """
    for world in (1, ranks):
        data = make_data(source=FewDigits(59))
        method = build(name, data, NoNorm, lr=0.01)
        fit(method, data, 3, [Gradients(tmp_path)], **forked(world))
    one = torch.load(tmp_path / "1-0.pt", weights_only=True)
    assert len(one["steps"]) >= 3 + 2, "beyond the first epoch too"
    for rank in range(ranks):
        mine = torch.load(tmp_path / f"{ranks}-{rank}.pt", weights_only=True)
        torch.testing.assert_close(mine["steps"], one["steps"], rtol=0, atol=1e-6)
        for key, values in one["buffers"].items():
            torch.testing.assert_close(mine["buffers"][key], values, rtol=0, atol=1e-6, msg=key)


# -- two threads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TWO_NETWORKS)
def test_two_threads_give_what_one_gives_to_the_bit(name: str) -> None:
    states = []
    for two_threads in (False, True):
        data = make_data()
        method = build(name, data, two_threads=two_threads)
        fit(method, data, epochs=3)
        assert method.networks.in_threads == (two_threads and method.losses_are_apart)
        states.append(state(method))
    assert same_state(*states)


@pytest.mark.parametrize("name", TWO_NETWORKS)
def test_losses_are_apart_where_a_method_says_so(name: str) -> None:
    """Autograd finds no path from a network's loss to the other's parameters."""
    data = make_data()
    method = build(name, data)
    fit(method, data)
    reached: list[bool] = []
    for batch in batches_of_all_kinds(data):
        assert batch.share is not None
        totals = {n: total(terms, batch.share) for n, terms in method.losses(batch).items()}
        reached += [
            gradient is not None
            for network, loss in totals.items()
            for gradient in torch.autograd.grad(
                loss,
                list(method.networks[method.peers[network]].parameters()),
                retain_graph=True,
                allow_unused=True,
            )
        ]
    assert any(reached) != method.losses_are_apart


def batches_of_all_kinds(data: NoisyDataModule) -> list[Batch]:
    """One of every kind of epoch that a method's streams give, as they are now."""
    found: dict[tuple[str, ...], Batch] = {}
    for epoch in range(EPOCHS):
        batch = next(train_batches(data, epoch))
        found.setdefault(tuple(sorted(batch.parts)), batch)
    return list(found.values())


# -- one forward of all views ---------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_one_forward_of_all_views_trains_the_same(name: str) -> None:
    """In 64 bits; BatchNorm's running statistics too."""
    found = []
    for fused in (False, True):
        data = make_data()
        method = build(name, data, partial(TinyNet, dtype=torch.float64), fused_forward=fused)
        fit(method, data, epochs=3)
        found.append(state(method))
    for key, values in found[0].items():
        torch.testing.assert_close(found[1][key], values, rtol=1e-4, atol=1e-6, msg=key)


# -- compilation, and the device ------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_compiled_training_is_training(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    eager = partial(torch.compile, backend="aot_eager", dynamic=False)
    monkeypatch.setattr(torch, "compile", lambda f, **_: eager(f))
    found = []
    for mode in ("off", "default"):
        data = make_data(batch_size=32)
        method = build(name, data, lr=0.02, compile=mode)
        fit(method, data, epochs=2)
        found.append(state(method))
    assert found[0].keys() == found[1].keys()
    for key, values in found[0].items():
        torch.testing.assert_close(found[1][key], values, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_on_cuda_mixes_no_devices_and_reads_no_value(name: str) -> None:
    """Without a GPU: tensors that know their device and nothing else.

    In a process of its own, as several such modes one after the other corrupt PyTorch's heap.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as children:
        assert children.submit(_step_on_cuda, name).result(timeout=120) == {"cuda"}


def _step_on_cuda(name: str) -> set[str]:
    """The devices that losses end on; backward is left out: its threads want a real device."""
    data = make_data()
    fit(build(name, data), data, 2)  # so that its streams are those of a method at work
    batches = batches_of_all_kinds(data)
    # Generators' states are values, which such tensors lack.
    with (
        patch("pmnar.methods.base._build", lambda setting, _: setting.network()),
        patch("pmnar.methods.networks.generators", tuple),
        patch("torch.autograd.grad", lambda _, of, **__: [torch.empty_like(each) for each in of]),
        FakeTensorMode(),
    ):
        with torch.device("cuda"):
            labels = torch.empty(SIZE, dtype=torch.int64)
            data.given_of_clean = torch.empty(data.given_of_clean.shape, dtype=torch.int64)
            method = build(name, data, partial(SmallCNN, 10, width=4), labels=labels)
            moved = [without_values(batch) for batch in batches]
        optimizer = method.configure_optimizers()["optimizer"]
        found: list[Tensor] = []
        for batch in moved:
            found += _step(method, optimizer, batch)
        return {loss.device.type for loss in found}


def without_values(batch: Batch) -> Batch:
    """A batch of the same shapes, and its parts, on the device at hand."""
    return batch._replace(
        indices=torch.empty(batch.indices.shape, dtype=torch.int64),
        labels=torch.empty(batch.labels.shape, dtype=torch.int64),
        views=tuple(torch.empty(view.shape) for view in batch.views),
        parts={part: without_values(each) for part, each in batch.parts.items()},
    )


def _step(method: NoisyLabelMethod, optimizer: torch.optim.Optimizer, batch: Batch) -> list[Tensor]:
    """A step's losses."""
    share, found = batch.share, method.losses(batch)
    assert share is not None
    totals = [total(terms, share) for terms in found.values()]
    assert torch.stack(totals).sum().requires_grad
    for parameter in method.parameters():
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    method.after_step(batch)
    method._sums = EpochSums()  # as at the beginning of an epoch
    method._accumulate(sums(found, share), len(batch.indices), 0)
    return totals


def test_a_value_that_is_read_would_be_noticed() -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        float(torch.empty(3, device="cuda").sum())
    with FakeTensorMode(), pytest.raises(RuntimeError, match="same device"):
        torch.empty(3, device="cuda") + torch.empty(3)
