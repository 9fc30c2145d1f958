"""Every method found in conf/method, built from its own configuration on toy data."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf
from toy import COMPUTE, SHARED, TinyNet, make_data, make_setting, train_batches

import pmnar.tasks.command  # noqa: F401  (the resolvers that configurations need)
from pmnar.data import Batch, NoisyDataModule, Split
from pmnar.methods import NoisyLabelMethod
from pmnar.names import CLEAN, TRAIN
from pmnar.runtime.compute import Compute

CONF = Path(__file__).parents[1] / "conf"
METHODS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
SHORT = {"warmup_epochs": 1}
"""Settings of which some methods have one, so that a few epochs show all that a method does."""

STAGES = {
    **dict.fromkeys(("negative_epochs", "selective_epochs", "positive_epochs", "joint_epochs"), 1),
    **dict.fromkeys(("trusted_epochs", "soft_epochs"), 1),
    **dict.fromkeys(("plain_epochs", "corrected_epochs"), 1),
    "curriculum_epochs": 4,
    "cut": 0.02,
    **{"easy_epochs": 2, "hard_epochs": 1, "choose_after": 1},
    "contrastive_epochs": 2,
    **dict.fromkeys(("memory_after", "guess_after", "plus_epochs", "bootstrap_after"), 1),
    "neighbours": 1,
    **{"pretrain_epochs": 1, "cyclic_epochs": 2, "clean_epochs": 1},
    "dynamic_epochs": 1,
    "hardening_epochs": 2,
}
"""The same of methods in stages; what a toy's network says, too, is enough to trust samples."""


def settings_of(name: str) -> dict[str, Any]:
    """A method's configuration as it is composed for the default data set."""
    return deepcopy(_composed(name))


@cache
def _composed(name: str) -> dict[str, Any]:
    """Once for each method: composing takes as long as a toy's training."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"method={name}"])
    found = OmegaConf.to_container(cfg.method, resolve=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def uses_truth(name: str) -> bool:
    """Whether a method learns from samples with true labels too."""
    method = get_class(settings_of(name)["_target_"])
    assert issubclass(method, NoisyLabelMethod)
    return method.uses_truth


def warm_up(name: str, epochs: int = 1) -> tuple[str, ...]:
    """Overrides for a method with few images: so long a warm-up, so few with true labels."""
    of_clean = ("data.clean=20",) if uses_truth(name) else ()
    return (*(f"method.{key}={epochs}" for key in SHORT if key in settings_of(name)), *of_clean)


def lend(data: NoisyDataModule) -> None:
    """Let data that hold none out have samples with true labels: copies of every third."""
    if CLEAN in data.splits or data.labels.true is None:
        return
    train, chosen = data.splits[TRAIN], slice(0, None, 3)
    true = torch.from_numpy(data.labels.true)
    data.splits[CLEAN] = Split(train.images[chosen], true[chosen])
    data.given_of_clean = train.labels[chosen]


def build(
    name: str,
    data: NoisyDataModule,
    network: Callable[[], Any] = TinyNet,
    lr: float = 0.1,
    **changes: Any,
) -> NoisyLabelMethod:
    """The method, with changes of its own settings, of all methods' or of `Compute`."""
    settings = settings_of(name)
    short = SHORT | STAGES
    # A switch of the same name is not a number.
    is_number = {key for key, value in settings.items() if isinstance(value, int | float)}
    settings |= {key: value for key, value in short.items() if key in is_number}
    settings.pop("name")
    compute = {key: changes.pop(key) for key in COMPUTE if key in changes}
    shared = {"gradient_clip": settings.pop("gradient_clip", None)}
    shared |= {key: changes.pop(key) for key in SHARED if key in changes}
    setting = make_setting(data, network, lr, compute=Compute(**compute), **shared)
    method = get_class(settings.pop("_target_"))(setting, **settings | changes)
    assert isinstance(method, NoisyLabelMethod)
    if method.uses_truth:
        lend(data)
    method.attach(data)
    return method


def a_step(name: str, **changes: Any) -> tuple[NoisyLabelMethod, Batch]:
    """A method in 64 bits, in training, and its first batch."""
    data = make_data()
    method = build(name, data, partial(TinyNet, dtype=torch.float64), **changes)
    method.configure_optimizers()
    return method, next(train_batches(data))
