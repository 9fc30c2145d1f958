"""From a composed configuration to objects."""

import importlib.util
import inspect
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pmnar.augment import strong_view, weak_view
from pmnar.callbacks.progress import ProgressBar
from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import NoisyLabelMethod
from pmnar.methods.step import check_compute
from pmnar.noise import Noise
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO

MISSING = "Missing mandatory value: "
PRECISIONS = ("auto", "32-true", "bf16-mixed")
BEFORE = {"compile": "off", "channels_last": False, "fused_forward": False}
"""What a run was computed with that is older than these keys."""
START_METHODS = {"auto": "popen", "ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork"}


def plain(node: Any) -> Any:
    """A configuration node as plain dictionaries, lists and values, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


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


def build_method(cfg: DictConfig, data: NoisyDataModule) -> NoisyLabelMethod:
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
        **compute_settings(cfg),
    )
    assert isinstance(method, NoisyLabelMethod)
    check_optimizer(method)
    data.train_views = method.views
    return method


def compute_settings(cfg: DictConfig) -> dict[str, Any]:
    """How a method computes; of a run from before there was a choice, as it was then.

    Raises:
        InputError: they cannot go together.
    """
    chosen = {key: cfg.get(key, before) for key, before in BEFORE.items()}
    chosen["compile"] = chosen["compile"] or "off"  # YAML's off is false
    check_compute(chosen["compile"], chosen["channels_last"])
    if chosen["fused_forward"] and cfg.trainer.sync_batchnorm:
        raise InputError(
            "fused_forward=true splits BatchNorm per view, which trainer.sync_batchnorm=true undoes"
        )
    return chosen


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


def build_trainer(cfg: DictConfig, folder: Path, callbacks: Sequence[Callback]) -> L.Trainer:
    """The Trainer, with our checkpoints, loggers and strategy."""
    settings = dict(plain(cfg.trainer))
    check_precision(settings["precision"])
    settings["accelerator"] = choose_accelerator(settings["accelerator"])
    settings["precision"] = choose_precision(settings)
    check_devices(settings["accelerator"], settings["devices"])
    target = settings.pop("_target_")
    checkpoint = RunCheckpoint(folder, **plain(cfg.get("checkpoint", {})))
    bar: list[Callback] = []
    if settings["enable_progress_bar"]:
        bar.append(ProgressBar())
    trainer: L.Trainer = instantiate(
        {"_target_": target},
        **settings | {"strategy": build_strategy(settings)},
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


def build_strategy(settings: dict[str, Any]) -> Any:
    """Lightning's choice on one device; DDP on several.

    Buffers are not broadcast at each step: they hold per-sample state, equal on all ranks, and
    BatchNorm statistics, averaged once an epoch.
    """
    name = settings["strategy"]
    if name not in START_METHODS:
        allowed = ", ".join(START_METHODS)
        raise InputError(f"trainer.strategy must be one of {allowed}, got {name}")
    if planned_world_size(settings) == 1:
        return "auto"
    known = inspect.signature(DistributedDataParallel).parameters
    each_step = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {each_step: False, "start_method": START_METHODS[name]}
    options["timeout"] = timedelta(minutes=10)  # for ranks to meet, and of a collective
    return DDPStrategy(**options)


def planned_world_size(settings: dict[str, Any]) -> int:
    """Processes that will train together: nodes times devices, 2 where Lightning is to find out."""
    devices = settings["devices"]
    count = len(devices) if isinstance(devices, list) else devices
    nodes: int = settings["num_nodes"]
    return nodes * (int(count) if str(count).isdigit() else 2)


def check_precision(precision: Any) -> None:
    """Refuse fp16: its gradient scaler mis-scales the second network when the scale changes."""
    if str(precision) not in PRECISIONS:
        raise InputError(
            f"trainer.precision must be one of {', '.join(PRECISIONS)}, got {precision} "
            "(fp16's gradient scaler would mis-scale the second network)"
        )


def choose_precision(settings: dict[str, Any]) -> str:
    """`auto` is bf16-mixed on GPUs that have bf16, else 32 bits: on CPUs bf16 is slower."""
    if settings["precision"] != "auto":
        return str(settings["precision"])
    on_gpu = settings["accelerator"] in ("gpu", "cuda") and torch.cuda.is_available()
    if on_gpu and settings["strategy"] == "ddp_fork":
        raise InputError(
            "trainer.precision=auto asks the GPU, which trainer.strategy=ddp_fork forbids before "
            "the ranks are forked; set trainer.precision=bf16-mixed or 32-true"
        )
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(False) else "32-true"


def choose_accelerator(name: str) -> str:
    """`auto` is CUDA where there is a GPU, else the CPU: Apple's lacks float64 and determinism."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_devices(accelerator: str, devices: Any) -> None:
    """Raise `InputError` where more GPUs are asked for than there are."""
    if not isinstance(devices, int):
        return
    if devices < 1:
        raise InputError(f"trainer.devices must be at least 1, got {devices}")
    gpus = torch.cuda.device_count()
    uses_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and gpus > 0)
    if uses_gpu and devices > gpus:
        raise InputError(
            f"trainer.devices={devices}, but this machine has {gpus} GPUs; "
            "lower it, or set trainer.accelerator=cpu"
        )


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
