"""Lightning's Trainer: which of its settings are a run's own, and which are ours."""

import importlib.util
import inspect
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

from pmnar.callbacks.progress import ProgressBar
from pmnar.errors import InputError
from pmnar.runtime.checkpoint import RunCheckpoint, SafeCheckpointIO
from pmnar.runtime.compute import Compute
from pmnar.tasks.command import plain
from pmnar.tasks.devices import build_strategy
from pmnar.tasks.instances import in_a_line, instantiated
from pmnar.tasks.mistakes import first_line, nearest

MAY_BE_SET = {"enable_model_summary": False, "log_every_n_steps": 1}
"""Settings that a configuration does not name, and may."""
FLAGS = (
    *("sync_batchnorm", "deterministic", "benchmark", "detect_anomaly"),
    *("enable_progress_bar", "enable_model_summary"),
)
"""Settings that Lightning would take for true, whatever they are."""
CLIP = "each network's gradient is clipped on its own, by method.gradient_clip"
TESTED = "a run is tested once after each epoch, and has a row of metrics.csv for it"
OURS = {
    "accumulate_grad_batches": "a step is of data.batch_size samples, on all devices together",
    "barebones": "a run writes tables and checkpoints",
    "callbacks": "they are the run's own; checkpoint and detection set them",
    "check_val_every_n_epoch": TESTED,
    "default_root_dir": "runs_dir says where runs are",
    "enable_checkpointing": "checkpoint.every and checkpoint.keep say when and how many",
    "gradient_clip_algorithm": CLIP,
    "gradient_clip_val": CLIP,
    "inference_mode": "what a method keeps of a pass over the training set is used in training",
    "logger": "logger=none, tensorboard or wandb chooses one",
    "max_time": "a run is counted in epochs: trainer.max_epochs; SIGTERM stops it, to be resumed",
    "max_steps": "a run is counted in epochs: trainer.max_epochs",
    "min_steps": "a run is counted in epochs: trainer.max_epochs",
    "num_sanity_val_steps": TESTED,
    "overfit_batches": "trainer.limit_train_batches and dataset.train_subset make a run smaller",
    "plugins": "checkpoints are written by one of the run's own",
    "reload_dataloaders_every_n_epochs": "the method decides it",
    "use_distributed_sampler": "batches are dealt to the ranks by the data module",
    "val_check_interval": TESTED,
}
"""Settings that would break what a run leaves or promises, and what there is in their place."""
FORMER = {
    "gpus": "trainer.accelerator=gpu trainer.devices={value}",
    "num_processes": "trainer.accelerator=cpu trainer.devices={value}",
    "tpu_cores": "trainer.accelerator",
    "auto_select_gpus": "trainer.devices=auto",
    "progress_bar_refresh_rate": "trainer.enable_progress_bar",
    "checkpoint_callback": "checkpoint.every",
    "weights_summary": "trainer.enable_model_summary",
    "resume_from_checkpoint": "resume={value}",
}
"""Settings that Lightning had once, and what does the same."""


def build_trainer(
    cfg: DictConfig, compute: Compute, folder: Path, callbacks: Sequence[Callback]
) -> L.Trainer:
    """The Trainer, with our checkpoints, loggers and strategy."""
    settings = MAY_BE_SET | plain(cfg.trainer)
    check_keys(settings)
    with in_a_line("checkpoint"):
        checkpoint = RunCheckpoint(folder, **plain(cfg.get("checkpoint", {})))
    bar: list[Callback] = []
    if settings["enable_progress_bar"]:
        bar.append(ProgressBar())
    settings |= {
        "accelerator": compute.accelerator,
        "precision": compute.precision,
        "num_nodes": compute.num_nodes,
    }
    devices = compute.devices
    trainer: L.Trainer = instantiated(
        "trainer",
        settings,
        devices=list(devices) if isinstance(devices, tuple) else devices,
        strategy=build_strategy(compute),
        callbacks=[*bar, *callbacks, checkpoint],
        logger=build_logger(cfg.logger, folder),
        default_root_dir=folder,
        plugins=[SafeCheckpointIO()],
        use_distributed_sampler=False,
        inference_mode=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=1,
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
        return instantiated("logger", settings, save_dir=folder / "tensorboard")
    return instantiated("logger", settings, save_dir=folder)


def check_trainer(cfg: DictConfig, compute: Compute) -> None:
    """Build the Trainer once for nothing, before anything is read or written.

    Raises:
        InputError: Lightning or a logger refuses its settings.
    """
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # they come again
        trainer = build_trainer(cfg, compute, Path(folder), [])
        # Others would begin a run somewhere else.
        if "_target_" in cfg.logger and isinstance(trainer.logger, TensorBoardLogger):
            open_logger(cfg, trainer)
            trainer.logger.finalize("success")


def open_logger(cfg: DictConfig, trainer: L.Trainer) -> None:
    """Let the logger that was chosen begin now, instead of within `fit`.

    Where none was, nobody has set anything of it, and TensorBoard is loaded when it is needed.

    Raises:
        InputError: it cannot.
    """
    if "_target_" not in cfg.logger:
        return
    try:
        _ = trainer.logger and trainer.logger.experiment  # type: ignore[attr-defined]
    except Exception as error:  # of a library that only it knows
        raise InputError(f"logger: {first_line(error)}; logger=none does without") from error


def check_keys(settings: dict[str, Any]) -> None:
    """Raise `InputError` for a setting that is ours, or that Lightning does not have."""
    known = inspect.signature(L.Trainer).parameters.keys()
    for name, value in settings.items():
        if name in OURS:
            raise InputError(f"trainer.{name} cannot be set: {OURS[name]}")
        if name in FORMER:
            instead = FORMER[name].format(value=value)
            raise InputError(f"Lightning's Trainer has no {name} any more: set {instead}")
        if name not in known and name != "_target_":
            free = [key for key in known if key not in OURS]
            raise InputError(f"Lightning's Trainer has no {name}; {nearest(name, free)}")
        warns = name == "deterministic" and value == "warn"
        if name in FLAGS and not (value is None or isinstance(value, bool) or warns):
            raise InputError(f"trainer.{name} must be true or false, got {value}")
