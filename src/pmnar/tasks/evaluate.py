"""Test accuracy and detection again, from a run's checkpoint."""

import sys
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from pmnar.callbacks.classes_table import class_rows
from pmnar.data import NoisyDataModule
from pmnar.detection import detection_metrics, find_suspects
from pmnar.errors import InputError
from pmnar.methods import NoisyLabelMethod
from pmnar.names import TRAIN, suffixes
from pmnar.noise.fingerprint import other_decoder
from pmnar.runtime.checkpoint import check_images, check_labels, warn_of_test_images
from pmnar.runtime.quiet import quieten
from pmnar.runtime.typed import command
from pmnar.tasks.build import build_method
from pmnar.tasks.compute import set_up_process
from pmnar.tasks.devices import choose_accelerator, parse_compute
from pmnar.tasks.identity import test_digests
from pmnar.tasks.places import (
    LABELS,
    follow_moves,
    from_its_start,
    locate,
    move_data,
    newest_run,
    read_run_checkpoint,
    saved_config,
)
from pmnar.tasks.train import load_data
from pmnar.tasks.trainer import OURS, build_trainer

Result = dict[str, Any]


def evaluate(cfg: DictConfig) -> Result:
    """Evaluate `cfg.run`'s networks as its checkpoint holds them. Writes nothing.

    Returns:
        `accuracy` by output (and `accuracy_<split>` for further test splits), `recall_per_class`
        of the first network, `detection`, `suspects`, `unsure`, `epochs`, `method` and `run`.
    """
    quieten()
    folder, path = run_of(cfg)
    checkpoint = read_run_checkpoint(path, "evaluate", folder)
    config = run_config(saved_config(checkpoint), cfg, folder)
    check_belongs(config, path, folder)
    compute = parse_compute(config)
    set_up_process(compute.threads)
    data = load_data(config)
    check_data(checkpoint, data)
    method = build_method(config, data, compute, weights_follow=True)
    method.load_state_dict(checkpoint["state_dict"])
    trainer = build_trainer(config, compute, folder, [_Measure()])
    trainer.test(method, datamodule=data, verbose=False)
    if method.measurement is None:  # Lightning does nothing where there is nothing to test
        method.to(trainer.strategy.root_device)
    epochs = checkpoint["epoch"] + 1
    about = {"method": config.method.name, "run": str(folder), "epochs": epochs}
    return about | tested(method, data, epochs) | found(method, data, config.detection.threshold)


def run_of(cfg: DictConfig) -> tuple[Path, Path]:
    """The run folder that `cfg` names, and the checkpoint.

    Raises:
        InputError: it names none.
    """
    if cfg.run is None:
        newest = newest_run(Path("runs"))
        such = f", such as the newest: {command('evaluate', run=newest)}" if newest else ""
        raise InputError(f"run must name a run folder or a checkpoint: run=<run folder>{such}")
    folder, path = locate(Path(cfg.run), "run")
    return folder, path if cfg.checkpoint is None else Path(cfg.checkpoint)


def check_data(checkpoint: dict[str, Any], data: NoisyDataModule) -> None:
    """Raise `InputError` unless images and labels are those that the checkpoint was made with."""
    decoder = other_decoder(checkpoint["pmnar"].get("decoder"), data.labels.decoder)
    check_images(checkpoint, data.labels.digest, decoder)
    warn_of_test_images(checkpoint, test_digests(data))
    check_labels(checkpoint, data.splits[TRAIN].labels)


def tested(method: NoisyLabelMethod, data: NoisyDataModule, epochs: int) -> Result:
    """Accuracy of each output on each test split, and the first network's recall of each class."""
    rows = class_rows(epochs, method.by_class, data.class_names)
    return {
        **{
            f"accuracy{suffix}": {
                name: method.record[f"accuracy_{name}{suffix}"] for name in method.output_names
            }
            for suffix in suffixes(data.test_names).values()
        },
        "recall_per_class": {row["name"]: row["recall"] for row in rows if "recall" in row},
    }


def found(method: NoisyLabelMethod, data: NoisyDataModule, threshold: float) -> Result:
    """How well wrong labels are found, and how many are."""
    measured, given = method.measure(), method.labels.cpu()
    confidence, prediction = measured.confidence["first"].cpu(), measured.prediction["first"].cpu()
    true = None if data.labels.true is None else torch.from_numpy(data.labels.true)
    suspects = find_suspects(confidence, given, prediction, threshold)
    return {"detection": detection_metrics(confidence, given, true, threshold), **suspects.counts}


class _Measure(L.Callback):
    """Makes the ordered pass while the networks are still on the device."""

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, NoisyLabelMethod)
        pl_module.measure()


def check_belongs(config: DictConfig, path: Path, folder: Path) -> None:
    """Raise `InputError` unless the checkpoint at `path` is of the folder's data set and method."""
    if not (folder / "config.yaml").is_file():
        return
    made_with = OmegaConf.load(folder / "config.yaml")
    for key in ("dataset.name", "method.name"):
        found, wanted = OmegaConf.select(config, key), OmegaConf.select(made_with, key)
        if found != wanted:
            raise InputError(f"{path} is a checkpoint of {key}={found}, {folder} of {wanted}")


def run_config(config: DictConfig, cfg: DictConfig, folder: Path) -> DictConfig:
    """A checkpoint's configuration, on this machine's devices, data and saved labels."""
    with open_dict(config):
        for key in OURS:  # of a run from before they were
            config.trainer.pop(key, None)
        config.trainer.accelerator = choose_accelerator(cfg.accelerator, "accelerator")
        config.trainer.devices = 1
        config.trainer.num_nodes, config.trainer.strategy = 1, "auto"
        config.logger = {"name": "none"}
        if not sys.stdout.isatty():  # whatever reads it wants the result alone
            config.trainer.enable_progress_bar = False
        follow_moves(config, folder)
        from_its_start(config, folder)
        if cfg.data_dir is not None:
            move_data(config, config.data_dir, cfg.data_dir)
        if (folder / LABELS).is_file():  # which the data's move does not move
            config.noise = {"_target_": "pmnar.noise.OfRun", "path": str(folder)}
    return config
