"""Networks of other libraries: their settings, their faults, their published weights."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from pmnar.errors import InputError
from pmnar.networks import CNN9, ResNet34
from pmnar.tasks.command import plain
from pmnar.tasks.evaluate import evaluate
from pmnar.tasks.network import build_network, check_network
from pmnar.tasks.resume import resume
from pmnar.tasks.train import train

TIMM = ("network=timm", "method=ce", "dataset.train_subset=100", "data.batch_size=50")
SHORT = (*TIMM, "scheduler=multistep", "dataset.recipe.milestones=[]")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What timm is asked for; weights of a hub are what the seed gives."""
    timm = pytest.importorskip("timm")
    create, calls = timm.create_model, list[dict[str, Any]]()

    def create_model(name: str, **settings: Any) -> nn.Module:
        calls.append(settings)
        made: nn.Module = create(name, **{**settings, "pretrained": False})
        return made

    monkeypatch.setattr(timm, "create_model", create_model)
    return calls


def test_settings_of_a_model_are_passed_on(
    run: Callable[..., Path], asked: list[dict[str, Any]]
) -> None:
    own = ("+network.img_size=8", "+network.patch_size=4", "+network.drop_rate=0.5")
    folder = run(*SHORT, "trainer.max_epochs=1", "network.name=test_vit", *own)
    assert (folder / "summary.json").is_file()
    assert {"img_size": 8, "patch_size": 4, "drop_rate": 0.5}.items() <= asked[-1].items()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            "network.name=vit_tiny_patch16_224",
            r"network: it cannot take images of shape \[1, 8, 8\]: Input height \(8\) doesn't "
            r"match model \(224\); a model of fixed image size needs \+network\.img_size=8",
        ),
        (
            "network.name=resnet18 +network.img_size=8",
            r"network.name=resnet18 network.img_size=8: .* unexpected keyword argument 'img_size'",
        ),
        ("network._target_=builtins.dict", "network._target_=builtins.dict makes no torch.nn.Mod"),
    ],
)
def test_models_that_cannot_be_used_are_refused(
    composed: Callable[..., DictConfig],
    quiet: tuple[str, ...],
    runs: Path,
    overrides: str,
    reason: str,
) -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError) as error:
        train(composed(*quiet, *SHORT, f"runs_dir={runs}", *overrides.split()))
    assert re.match(reason, str(error.value))
    assert len(str(error.value).splitlines()) == 1
    assert not runs.exists()


def test_networks_of_papers_are_built(composed: Callable[..., DictConfig]) -> None:
    for name, kind in {"resnet34": ResNet34, "cnn9": CNN9}.items():
        settings = plain(composed("dataset=cifar10", f"network={name}", "network.width=4").network)
        network = build_network(settings, num_classes=10, in_channels=3)
        assert type(network) is kind
        check_network(network, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), 10)


def test_inception_resnet_v2_needs_timm_and_75_pixels(
    composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = plain(composed("network=inception_resnet_v2").network)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "timm", None)
        with pytest.raises(InputError) as error:
            build_network(settings, num_classes=50, in_channels=3)
    told = "network.name=inception_resnet_v2 needs timm: pip install 'pmnar[timm]'"
    assert str(error.value) == told
    pytest.importorskip("timm")
    with torch.device("meta"):
        network = build_network(settings, num_classes=50, in_channels=3)
        assert network.eval()(torch.zeros(2, 3, 75, 75)).shape == (2, 50)
        with pytest.raises(InputError, match=r"cannot take images of shape \[3, 74, 74\]"):
            check_network(network, torch.zeros(2, 3, 74, 74), 50)


def test_a_deep_network_takes_steps_on_the_digits(short_run: Callable[..., Path]) -> None:
    folder = short_run("network=resnet34", "method=elr", "trainer.fast_dev_run=2")
    assert (folder / "samples.parquet").is_file()


def test_a_network_for_larger_images_is_refused(refuse: Callable[..., str]) -> None:
    told = "network: it cannot take images of shape [1, 8, 8]: network=cnn9 takes images from 28"
    assert refuse("network=cnn9").startswith(told)


def test_published_weights_are_asked_for_by_a_new_run_alone(
    composed: Callable[..., DictConfig],
    run: Callable[..., Path],
    asked: list[dict[str, Any]],
) -> None:
    folder = run(
        *SHORT, "network.name=test_resnet", "network.pretrained=true", "trainer.max_epochs=1"
    )
    assert all(settings["pretrained"] for settings in asked)
    asked.clear()
    evaluate(composed(f"run={folder}", "accelerator=cpu", name="evaluate"))
    again = resume(folder, ["trainer.max_epochs=2"])
    train(again.config, again.folder, again.checkpoint)
    assert asked
    assert not any(settings["pretrained"] for settings in asked)
    assert again.config.network.pretrained


class Odd(nn.Module):
    """A network with a fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x: Tensor) -> Any:
        """`[B, C, H, W]` → `[B, 3]`, but for the fault."""
        if self.fault == "silent":
            raise KeyError
        logits = x.mean((1, 2, 3))[:, None].expand(-1, 3)
        if self.fault == "norm":
            return logits + self.norm(x.mean().view(1, 1))
        return (logits, logits) if self.training else logits


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("silent", "KeyError"),
        ("norm", "Expected more than 1 value per channel when training"),
        ("further output", "its output must be one tensor of logits, got a tuple"),
    ],
)
def test_faults_of_the_first_forward_are_told(fault: str, reason: str) -> None:
    before = torch.get_rng_state()
    with pytest.raises(InputError, match=reason):
        check_network(Odd(fault), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 3)
    assert torch.equal(torch.get_rng_state(), before)
