"""Networks of other libraries: their settings, their faults, their published weights."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from pmnar.errors import InputError
from pmnar.tasks.evaluate import evaluate
from pmnar.tasks.network import check_network
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
