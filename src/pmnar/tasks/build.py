"""From a composed configuration to objects."""

import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from torch import Tensor, nn

from pmnar.augment import strong_view, weak_view
from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import NoisyLabelMethod
from pmnar.noise import Noise
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.compute import Compute
from pmnar.runtime.progress import ProgressBar
from pmnar.tasks.command import plain
from pmnar.tasks.devices import build_strategy

MISSING = "Missing mandatory value: "


def build_noise(cfg: DictConfig) -> tuple[Noise, int]:
    """The noise and its seed."""
    settings = dict(plain(cfg.noise))
    seed = settings.pop("seed", cfg.seed)
    return _instantiate("noise", settings), seed


def build_datamodule(cfg: DictConfig) -> NoisyDataModule:
    """The data module; nothing is read yet."""
    noise, noise_seed = build_noise(cfg)
    dataset, views = cfg.dataset, cfg.dataset.views
    return NoisyDataModule(
        source=_instantiate("dataset.source", plain(dataset.source)),
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
    method = _instantiate(
        "method",
        settings,
        network=network,
        optimizer=_instantiate("optimizer", plain(cfg.optimizer)),
        scheduler=_instantiate("scheduler", plain(cfg.scheduler)),
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
        reason = str(error).splitlines()[0]
        raise InputError(f"optimizer or scheduler: {reason}") from None


def _network(settings: dict[str, Any], num_classes: int, in_channels: int) -> nn.Module:
    network = _instantiate("network", settings, num_classes=num_classes, in_channels=in_channels)
    assert isinstance(network, nn.Module)
    return network


@torch.no_grad()
def check_network(network: nn.Module, images: Tensor, num_classes: int) -> None:
    """Raise `InputError` unless the network turns images `[B, C, H, W]` into logits `[B, K]`."""
    try:
        found = tuple(network.eval()(images.float() / 255).shape)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        shape = list(images.shape[1:])
        raise InputError(f"network: it cannot take images of shape {shape}: {reason}") from None
    expected = (len(images), num_classes)
    if found != expected:
        raise InputError(
            f"network: its output must be [batch, {num_classes}] for {num_classes} classes, "
            f"got {list(found)} for a batch of {len(images)}"
        )


def build_trainer(
    cfg: DictConfig, compute: Compute, folder: Path, callbacks: Sequence[Callback]
) -> L.Trainer:
    """The Trainer, with our checkpoints, loggers and strategy."""
    settings = dict(plain(cfg.trainer))
    target = settings.pop("_target_")
    checkpoint = RunCheckpoint(folder, **plain(cfg.get("checkpoint", {})))
    bar: list[Callback] = []
    if settings["enable_progress_bar"]:
        bar.append(ProgressBar())
    trainer: L.Trainer = instantiate(
        {"_target_": target},
        **settings
        | {
            "accelerator": compute.accelerator,
            "precision": compute.precision,
            "devices": compute.devices,
            "num_nodes": compute.num_nodes,
            "strategy": build_strategy(compute),
        },
        callbacks=[*bar, *callbacks, checkpoint],
        logger=build_logger(cfg.logger, folder),
        default_root_dir=folder,
        plugins=[SafeCheckpointIO()],
        use_distributed_sampler=False,
        inference_mode=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=1,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    return trainer


def build_logger(cfg: DictConfig, folder: Path) -> Any:
    """The logger beside `metrics.csv`, or False."""
    settings = dict(plain(cfg))
    if "_target_" not in settings:
        installed = importlib.util.find_spec("tensorboard") is not None
        if settings["name"] != "auto" or not installed:
            return False
        settings = {
            "_target_": "lightning.pytorch.loggers.TensorBoardLogger",
            "name": "",
            "version": "",
        }
    if "TensorBoard" in settings["_target_"]:
        return _instantiate("logger", settings, save_dir=folder / "tensorboard")
    return _instantiate("logger", settings, save_dir=folder)


def _instantiate(key: str, settings: dict[str, Any], **more: Any) -> Any:
    """Hydra's instantiate, with an `InputError` of the callee passed on as it is."""
    try:
        return instantiate(settings, **more, _convert_="all")
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is not None:
            raise cause from None
        reason = str(error.__cause__ or error).splitlines()[0]
        if reason.startswith(MISSING):
            raise InputError(f"{key}.{reason.removeprefix(MISSING)} must be set") from None
        raise InputError(f"{key}: {reason}") from error
