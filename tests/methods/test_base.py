"""What the base class does for every method."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor
from torch.optim import Optimizer
from toy import (
    ABLATIONS,
    BATCH,
    SIZE,
    TinyNet,
    fit,
    make_data,
    make_method,
    same_state,
    state,
)

from pmnar.errors import InputError, NonFiniteLossError
from pmnar.methods import PMNAR, Setting
from pmnar.runtime.checkpoint import SafeCheckpointIO

TWO: dict[str, Any] = ABLATIONS["pmnar"]
STEPS = SIZE // BATCH


class Breaks(TinyNet):
    """Its logits are NaN from its `at`-th training forward on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return super().forward(x) * (torch.nan if self.calls >= self.at else 1.0)


# -- networks -------------------------------------------------------------------------------------


def test_two_networks_share_no_storage_and_start_different() -> None:
    first, second = make_method(make_data(), **TWO).networks.values()
    pointers = [
        {tensor.data_ptr() for tensor in [*net.parameters(), *net.buffers()]}
        for net in (first, second)
    ]
    assert not pointers[0] & pointers[1]
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    differ = [not torch.equal(a, b) for a, b in pairs]
    assert differ[0]
    assert sum(differ) >= 4, "all but BatchNorm's ones and zeros"


def test_a_network_starts_by_the_seed_and_its_name_alone() -> None:
    """So PMNAR's first network and CE's begin the same, and runs compare."""
    data = make_data()
    torch.manual_seed(0)
    pmnar = make_method(data, **TWO)
    torch.manual_seed(1)
    ce = make_method(data, **ABLATIONS["ce"])
    other = make_method(data, **ABLATIONS["ce"], seed=4)
    assert same_state(state(pmnar.networks["first"]), state(ce.networks["first"]))
    assert not same_state(state(other.networks["first"]), state(ce.networks["first"]))


def test_building_a_method_leaves_the_global_generator_alone() -> None:
    data = make_data()
    before = torch.get_rng_state()
    make_method(data, **TWO)
    assert torch.equal(torch.get_rng_state(), before)


def test_one_parameter_group_a_network_holds_every_parameter() -> None:
    method = make_method(make_data(), **TWO)
    optimizer = method.configure_optimizers()["optimizer"]
    assert [group["name"] for group in optimizer.param_groups] == ["first", "second"]
    for group, network in zip(optimizer.param_groups, method.networks.values(), strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    assert len(list(method.parameters())) == sum(len(g["params"]) for g in optimizer.param_groups)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"networks": 0}, r"method\.networks must be 1 or 2, got 0"),
        ({"networks": 3}, r"method\.networks must be 1 or 2, got 3"),
        ({"class_names": ("only",)}, r"at least 2 classes, got 1"),
    ],
)
def test_bad_arguments_are_told(changed: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"labels": torch.zeros(4).long(), "class_names": ("a", "b")}
    changed = dict(changed)
    networks = changed.pop("networks", 1)
    sgd = partial(torch.optim.SGD, lr=0.1)
    constant = partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)
    with pytest.raises(InputError, match=message):
        PMNAR(Setting(TinyNet, sgd, constant, **settings | changed), networks=networks)


# -- training -------------------------------------------------------------------------------------


def test_runs_repeat_to_the_bit_whatever_the_global_generator_holds() -> None:
    data, states = make_data(), []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        method = make_method(data, **TWO)
        fit(method, data, epochs=2)
        states.append(state(method))
    assert same_state(*states)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_workers": 2},
        {"resident": "host"},
        {"resident": "stream"},
        {"resident": "stream", "num_workers": 0},
    ],
)
def test_how_images_are_fetched_does_not_change_training(settings: dict[str, Any]) -> None:
    states = []
    for chosen in ({}, settings):
        data = make_data(**chosen)
        method = make_method(data, **TWO)
        fit(method, data, epochs=2)
        states.append(state(method))
    assert same_state(*states)


def test_the_schedule_steps_once_an_epoch_and_steps_count_batches() -> None:
    data = make_data()
    method = make_method(data, **TWO)
    trainer = fit(method, data, epochs=4)
    rates = [row["learning_rate"] for row in method.rows]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01])
    assert [row["epoch"] for row in method.rows] == [1, 2, 3, 4]
    assert trainer.global_step == 4 * STEPS


class GradientNorms(Callback):
    """Each network's gradient norm at each step, before and after the method's own hook."""

    def __init__(self) -> None:
        self.before: list[float] = []
        self.after: list[float] = []

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        self.before += self._norms(pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.after += self._norms(pl_module)

    def _norms(self, method: L.LightningModule) -> list[float]:
        assert isinstance(method, PMNAR)
        return [
            float(
                torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()
            )
            for net in method.networks.values()
        ]


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_each_network_is_clipped_on_its_own(clip: float | None) -> None:
    data, norms = make_data(), GradientNorms()
    fit(make_method(data, gradient_clip=clip, **TWO), data, callbacks=[norms])
    assert len(norms.before) == len(norms.after) == 2 * STEPS
    for before, after in zip(norms.before, norms.after, strict=True):
        assert before > 1e-3
        assert after == pytest.approx(before if clip is None else clip, rel=1e-3)


@pytest.mark.parametrize(("at", "epoch", "step"), [(1, 1, 1), (3, 1, 3), (5, 2, 2)])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    at: int, epoch: int, step: int
) -> None:
    data = make_data()
    method = make_method(data, partial(Breaks, at), **ABLATIONS["ce"])
    with pytest.raises(NonFiniteLossError, match=rf"epoch {epoch}, step {step};"):
        fit(method, data, epochs=3)
    assert len(method.rows) == epoch - 1


def test_bf16_trains_with_float32_confidences() -> None:
    data = make_data()
    method = make_method(data, **TWO)
    fit(method, data, epochs=2, precision="bf16-mixed")
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in method.parameters())
    assert method.measure().confidence["first"].dtype == torch.float32
    assert method.sample_weights.min() == 0


@pytest.mark.parametrize("name", ["nl", "pmnar"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    name: str, stop: int, tmp_path: Path
) -> None:
    data = make_data()
    whole = make_method(data, **ABLATIONS[name])
    fit(whole, data, epochs=4)

    part = make_method(data, **ABLATIONS[name])
    saving = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
    io: dict[str, Any] = {"enable_checkpointing": True, "plugins": [SafeCheckpointIO()]}
    fit(part, data, stop, [saving], **io)
    resumed = make_method(data, **ABLATIONS[name])
    fit(resumed, data, 4, resume=tmp_path / "last.ckpt", plugins=[SafeCheckpointIO()])

    assert same_state(state(whole), state(resumed))
    timed = {"seconds", "seconds_reweighting"}
    for row, expected in zip(resumed.rows, whole.rows[stop:], strict=True):
        for key in expected.keys() - timed:
            assert row[key] == expected[key] or row[key] != row[key], key
