"""Train a method: configuration in, run folder and summary out."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import DictConfig, OmegaConf

from pmnar.callbacks.detection import DetectionMonitor
from pmnar.callbacks.lost import LostClasses
from pmnar.callbacks.tables import RunTables
from pmnar.data import NoisyDataModule
from pmnar.data.batches import check_batch_size, check_clean
from pmnar.data.duplicates import warn_of_copies
from pmnar.data.sources.counts import describe_classes
from pmnar.errors import InputError
from pmnar.files import remove_leftovers, write_text
from pmnar.methods import NoisyLabelMethod
from pmnar.names import TRAIN
from pmnar.runtime.checkpoint import finished_epochs, make_last, read_checkpoint
from pmnar.runtime.compute import Compute
from pmnar.runtime.quiet import quieten
from pmnar.runtime.run_folder import CHECKPOINT, CONFIG, is_first_process, locked, make_run_folder
from pmnar.tasks.build import build_datamodule, build_method, check_normalisation
from pmnar.tasks.choose import EPOCHS, Choice, check_choice, chooses
from pmnar.tasks.cluster import name_job
from pmnar.tasks.command import plain
from pmnar.tasks.compute import SayCompute, SetUpProcess, set_up_process
from pmnar.tasks.console import say
from pmnar.tasks.devices import parse_compute
from pmnar.tasks.ending import Ending
from pmnar.tasks.find import check_same_images
from pmnar.tasks.identity import identity
from pmnar.tasks.pace import SayLength
from pmnar.tasks.places import LABELS, SUMMARY, read_summary, telling_from_where
from pmnar.tasks.rehearsal import check_writers, rehearse
from pmnar.tasks.resume import check_checkpoint
from pmnar.tasks.text import check_names, check_settings
from pmnar.tasks.trainer import build_trainer, check_trainer, open_logger

Summary = dict[str, Any]


def train(
    cfg: DictConfig,
    folder: Path | None = None,
    checkpoint: Path | None = None,
    said: Sequence[str] = (),
    typed: Collection[str] | None = None,
) -> Summary:
    """Train as `cfg` says, in a new run folder or, from a checkpoint, in the run's own.

    Args:
        cfg: the configuration.
        folder: the run's, where there is one.
        checkpoint: what to go on from.
        said: lines on how it goes on, once it is known that it can.
        typed: keys that stay where `recipe` and `minutes` choose, for a new run; None: they do not.

    Returns:
        The content of `summary.json`; on a rank other than the first, an empty dictionary.

    Raises:
        InputError: the configuration cannot be trained, or another process trains in the folder.
        NonFiniteLossError: the training diverged.
        RunStopped, RankLostError, WriteError: see `Ending`.
    """
    quieten()
    check_normalisation(cfg)
    check_settings(cfg)
    compute = check(cfg)
    set_up_process(compute.threads)
    if typed is not None and folder is None and chooses(cfg):
        data, chosen = load_and_choose(cfg, compute, typed)
        said = [*said, *chosen]
    else:
        data = load_data(cfg)
    check_names(data)
    check_batch_size(data.batch_size, len(data.labels.given), compute.world_size)
    if folder is not None:
        check_same_images(folder, data.labels)
    method = build_method(cfg, data, compute, weights_follow=checkpoint is not None)
    if data.uses_truth:
        check_clean(method.clean_samples, compute.world_size)
    method.identity = identity(cfg, data)
    if advice := method.advice(cfg.trainer.max_epochs):
        rank_zero_warn(advice)
    epochs = 0 if checkpoint is None else epochs_behind(checkpoint, method)
    if not is_first_process():
        fit_run(cfg, compute, data, method, folder or Path(cfg.runs_dir), checkpoint)
        return {}
    warn_of_copies(data)
    folder = folder or make_run_folder(
        Path(cfg.runs_dir), cfg.dataset.name, data.labels.name, cfg.method.name
    )
    with locked(folder):
        prepare_folder(cfg, data, folder, checkpoint, epochs)
        announce(cfg, data, method, folder, said)
        fit_run(cfg, compute, data, method, folder, checkpoint)
    if not (folder / SUMMARY).is_file():
        return {}
    if cfg.figures:
        draw(folder, data)
    return read_summary(folder)


def epochs_behind(checkpoint: Path, method: NoisyLabelMethod) -> int:
    """How many epochs a checkpoint has behind it; its content is not kept while a run trains.

    Raises:
        InputError: it is not of this method, its data or its labels.
    """
    content = read_checkpoint(checkpoint)
    check_checkpoint(content, method.identity, method.labels)
    return finished_epochs(content)


def fit_run(
    cfg: DictConfig,
    compute: Compute,
    data: NoisyDataModule,
    method: NoisyLabelMethod,
    folder: Path,
    checkpoint: Path | None,
) -> None:
    """Train in this process and, where there are several devices, in those that it starts."""
    ending = Ending(folder, cfg.trainer.max_epochs)
    callbacks = [
        *ending.callbacks,
        SetUpProcess(compute.threads),
        SayCompute(),
        SayLength(shorter(cfg, is_new=checkpoint is None)),
        *run_callbacks(cfg, data, folder),
    ]
    trainer = build_trainer(cfg, compute, folder, callbacks)
    with ending.handling(trainer):
        if compute.world_size == 1:  # what is open cannot be handed to a rank
            open_logger(cfg, trainer)
        trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True)


def shorter(cfg: DictConfig, *, is_new: bool) -> str:
    """What makes a run shorter."""
    if not is_new:
        return "Ctrl-C ends it at any time, to be resumed"
    budget = " minutes=60" if cfg.trainer.devices in (1, "1", "auto") else ""
    ways, width = [f"recipe=small{budget}"], cfg.network.get("width", 8)
    if isinstance(width, int) and width > 8:
        ways.append(f"network.width={width // 2}")
    return f"{' or '.join([*ways, f'{EPOCHS}=…'])} makes it shorter"


def prepare_folder(
    cfg: DictConfig, data: NoisyDataModule, folder: Path, checkpoint: Path | None, epochs: int
) -> None:
    """Write the configuration and the labels; keep what a resumed run leaves behind.

    That is the configuration, where another takes its place, and the summary, where the run goes
    back to a checkpoint, with so many `epochs` behind it, before its end.
    """
    remove_leftovers(folder)
    rehearse(folder, len(data.labels.given), cfg.figures)
    config, text = folder / CONFIG, OmegaConf.to_yaml(cfg, resolve=True)
    before = config.read_text(encoding="utf-8") if config.is_file() else None
    if checkpoint is not None:
        earlier = folder / f"config-until-epoch-{epochs}.yaml"
        if before not in (None, text) and not earlier.is_file():
            write_text(earlier, str(before))
        make_last(checkpoint, folder / CHECKPOINT)
        set_aside_summary(folder, epochs)
    if before != text:
        write_text(config, text)
    if not (folder / LABELS).is_file():
        data.labels.save(folder / LABELS)
    name_job(folder)


def set_aside_summary(folder: Path, epochs: int) -> None:
    """Rename the summary of a run that goes back to `epochs`, and will end otherwise."""
    if (folder / SUMMARY).is_file():
        ended = read_summary(folder)["epochs"]
        if ended > epochs:
            (folder / SUMMARY).rename(folder / f"summary-of-epoch-{ended}.json")


def check(cfg: DictConfig) -> Compute:
    """Refuse what could not be trained, before anything is read or written.

    Returns:
        what to train with.
    """
    compute = parse_compute(cfg)
    check_choice(cfg)
    threshold = cfg.detection.threshold
    if not (isinstance(threshold, int | float) and 0 < threshold < 1):
        raise InputError(f"detection.threshold must be in (0, 1), got {threshold}")
    epochs = cfg.trainer.max_epochs
    if not isinstance(epochs, int) or epochs < 1:
        raise InputError(f"trainer.max_epochs must be a whole number of at least 1, got {epochs}")
    check_writers(cfg.figures)
    check_trainer(cfg, compute)
    return compute


def load_data(cfg: DictConfig, batch_size: int | None = None) -> NoisyDataModule:
    """The data module with images loaded and noise injected; with another batch size, if given."""
    data = build_datamodule(cfg)
    data.batch_size = batch_size or data.batch_size
    with telling_from_where(cfg):
        data.prepare_data()
        data.setup()
    return data


def load_and_choose(
    cfg: DictConfig, compute: Compute, typed: Collection[str]
) -> tuple[NoisyDataModule, list[str]]:
    """The data module, and lines on what was chosen for it, which then stands in `cfg`."""
    choice = Choice(cfg, typed)
    said = choice.before_loading()
    data = load_data(cfg, batch_size=2)  # the least: how many fit is known once they are loaded
    return data, [*said, *choice.after_loading(data, compute, run_callbacks)]


def run_callbacks(cfg: DictConfig, data: NoisyDataModule, folder: Path) -> list[L.Callback]:
    """The callbacks that watch detection and write the run's tables."""
    labels, threshold = data.labels, cfg.detection.threshold
    true = None if labels.true is None else torch.from_numpy(labels.true)
    noise = {
        "name": labels.name,
        "nominal_rate": labels.nominal_rate,
        "actual_rate": labels.actual_rate,
        "seed": labels.seed,
    }
    about = {
        "dataset": cfg.dataset.name,
        "method": cfg.method.name,
        "network": plain(cfg.network),
        "seed": cfg.seed,
        "samples": len(labels.given),
        "class_names": list(data.class_names),
        "images": data.labels.digest,
        "noise": {key: value for key, value in noise.items() if value is not None},
        **({"true_labels": data.true_labels} if data.true_labels else {}),
        "run": str(folder),
    }
    samples = {
        "true": true,
        "index": torch.from_numpy(labels.index),
        "paths": data.splits["train"].paths,
        "images": data.labels.digest,
    }
    tables = RunTables(folder, about, samples, threshold)
    return [DetectionMonitor(true, threshold), LostClasses(cfg.method.name), tables]


def announce(
    cfg: DictConfig,
    data: NoisyDataModule,
    method: NoisyLabelMethod,
    folder: Path,
    said: Sequence[str],
) -> None:
    """Say what is about to be trained, and where; first what was `said` of an earlier run."""
    for line in said:
        say(line)
    parameters = sum(p.numel() for p in method.networks["first"].parameters())
    held_out = ", ".join(f"{len(data.splits[name]):,} in {name}" for name in data.test_names)
    noun = data.splits[TRAIN].noun
    say(
        f"{cfg.method.name} on {cfg.dataset.name}, "
        f"{len(data.labels.given):,} {noun} to train on, {held_out or 'none to test on'}"
    )
    say(f"classes  {describe_classes(data.class_names, data.labels.given, noun)}")
    say(f"noise    {data.labels.describe()}")
    if data.true_labels:
        say(f"uses     {data.true_labels:,} true labels in training")
    say(
        f"network  {len(method.networks)} × {cfg.network._target_.rsplit('.')[-1]}, "
        f"{parameters:,} parameters each"
    )
    say(f"run      {folder}")


def draw(folder: Path, data: NoisyDataModule) -> None:
    """Write the figures and the report of a finished run."""
    from pmnar.figures import write_figures, write_report

    images, positions = data.splits["train"].images, torch.from_numpy(data.labels.index)

    def shown(index: list[int]) -> torch.Tensor:
        # The table's index is the place in the official training set, of which this may be a part.
        return images[torch.searchsorted(positions, torch.tensor(index))]

    write_figures(folder, None if images.is_floating_point() else shown)
    write_report(folder)
