"""From a composed configuration to objects."""

from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from pmnar.augment import strong_view, weak_view
from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import NoisyLabelMethod
from pmnar.noise import Noise
from pmnar.runtime.compute import Compute
from pmnar.tasks.command import plain

MISSING = "Missing mandatory value: "


def build_noise(cfg: DictConfig) -> tuple[Noise, int]:
    """The noise and its seed."""
    settings = dict(plain(cfg.noise))
    seed = settings.pop("seed", cfg.seed)
    return instantiated("noise", settings), seed


def build_datamodule(cfg: DictConfig) -> NoisyDataModule:
    """The data module; nothing is read yet."""
    noise, noise_seed = build_noise(cfg)
    dataset, views = cfg.dataset, cfg.dataset.views
    return NoisyDataModule(
        source=instantiated("dataset.source", plain(dataset.source)),
        noise=noise,
        noise_seed=noise_seed,
        seed=cfg.seed,
        views={
            "weak": weak_view(views.padding, views.flip),
            "strong": strong_view(views.padding, views.flip, views.strong, views.cutout),
        },
        mean=plain(dataset.mean),
        std=plain(dataset.std),
        train_subset=dataset.train_subset,
        subset_seed=dataset.subset_seed,
        **plain(cfg.data),
    )


def build_method(cfg: DictConfig, data: NoisyDataModule, compute: Compute) -> NoisyLabelMethod:
    """The method, with networks for the data module's images and classes (set up before)."""
    settings = dict(plain(cfg.method))
    settings.pop("name")
    images = data.splits["train"].images
    network = partial(
        _network, plain(cfg.network), num_classes=data.num_classes, in_channels=images.shape[1]
    )
    check_network(network(), images[:2], data.num_classes)
    method = instantiated(
        "method",
        settings,
        network=network,
        optimizer=instantiated("optimizer", plain(cfg.optimizer)),
        scheduler=instantiated("scheduler", plain(cfg.scheduler)),
        labels=data.splits["train"].labels,
        class_names=data.class_names,
        seed=cfg.seed,
        test_names=data.test_names,
        compile=compute.compile,
        channels_last=compute.channels_last,
        fused_forward=compute.fused_forward,
    )
    assert isinstance(method, NoisyLabelMethod)
    check_optimizer(method)
    data.train_views = method.views
    return method


def check_optimizer(method: NoisyLabelMethod) -> None:
    """Raise `InputError` unless the optimiser and its schedule accept their settings."""
    try:
        method.configure_optimizers()
    except (TypeError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"optimizer or scheduler: {reason}") from None


def _network(settings: dict[str, Any], num_classes: int, in_channels: int) -> nn.Module:
    network = instantiated("network", settings, num_classes=num_classes, in_channels=in_channels)
    assert isinstance(network, nn.Module)
    return network


@torch.no_grad()
def check_network(network: nn.Module, images: Tensor, num_classes: int) -> None:
    """Raise `InputError` unless the network turns images `[B, C, H, W]` into logits `[B, K]`."""
    try:
        found = tuple(network.eval()(images.float() / 255).shape)
    except RuntimeError as error:
        reason = first_line(error)
        shape = list(images.shape[1:])
        raise InputError(f"network: it cannot take images of shape {shape}: {reason}") from None
    expected = (len(images), num_classes)
    if found != expected:
        raise InputError(
            f"network: its output must be [batch, {num_classes}] for {num_classes} classes, "
            f"got {list(found)} for a batch of {len(images)}"
        )


def instantiated(key: str, settings: dict[str, Any], **more: Any) -> Any:
    """Hydra's instantiate of `settings`, the value of `key`.

    Raises:
        InputError: the callee's own as it is, any other error as a line with its reason.
    """
    try:
        return instantiate(settings, **more, _convert_="all")
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        reason = first_line(error.__cause__ or error)
        if reason.startswith(MISSING):
            raise InputError(f"{key}.{reason.removeprefix(MISSING)} must be set") from None
        raise InputError(f"{key}: {reason}") from error


def first_line(error: BaseException) -> str:
    """The first line of what an error of another library says, or what kind it is."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
