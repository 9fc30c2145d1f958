"""The objects of a run, as a user's command builds them, and callbacks that measure one."""

import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from pmnar.data import NoisyDataModule
from pmnar.methods import NoisyLabelMethod
from pmnar.runtime.quiet import quieten
from pmnar.tasks.build import build_method
from pmnar.tasks.choose import chooses
from pmnar.tasks.command import config_dir
from pmnar.tasks.compute import SetUpProcess, set_up_process
from pmnar.tasks.ending import Ending
from pmnar.tasks.train import check, load_and_choose, load_data, run_callbacks
from pmnar.tasks.trainer import build_trainer

QUIET = ("figures=false", "trainer.enable_progress_bar=false")
ABLATIONS = ("ce", "nl", "ml", "pm", "ce_ar", "pm_ar", "pmnar_no_reg", "pmnar")
LENT = 8
"""Most samples with true labels, for methods that learn from such, where images are made up."""
RESNET = ("dataset=cifar10", "network=preact_resnet18")


def configuration(
    *overrides: str, images: Mapping[str, Any] | None = None, tiny: bool = False
) -> DictConfig:
    """What `python -m src.train` composes, without figures and bar unless told otherwise.

    Args:
        overrides: as on the command line.
        images: arguments of `Images`, which take the place of the data set's own; where absent,
            the data set is what it is.
        tiny: let `Tiny` take the network's place.
    """
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("config", [*QUIET, *overrides])
    with open_dict(cfg):
        if images is not None:
            # Lent beside the others, of which there are as many for every method.
            lent = cfg.data.clean = min(cfg.data.clean, LENT)
            more = {"samples": images["samples"] + lent}
            cfg.dataset.source = {"_target_": "benchmarks.synthetic.Images", **images, **more}
            cfg.dataset.num_classes = images.get("classes", 10)
            cfg.dataset.image_shape = list(images.get("shape", (3, 32, 32)))
        if tiny:
            cfg.network = {"_target_": "benchmarks.synthetic.Tiny"}  # channels come from the images
    return cfg


class Run(NamedTuple):
    """What a training run consists of, before it is trained."""

    cfg: DictConfig
    data: NoisyDataModule
    method: NoisyLabelMethod
    trainer: L.Trainer
    folder: Path

    def fit(self) -> None:
        """Train, to the end or until a `Clock` has had enough."""
        with suppress(EnoughError):
            self.trainer.fit(self.method, datamodule=self.data)


class Inside(L.Callback):
    """Measures something once everything is where training would begin, and ends the run there.

    Args:
        measure: gets the trainer and the method; what it returns is `found`.
    """

    def __init__(self, measure: Callable[[L.Trainer, NoisyLabelMethod], Any]) -> None:
        self.measure, self.found = measure, None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The method is on its device, its optimiser made, nothing trained."""
        assert isinstance(pl_module, NoisyLabelMethod)
        pl_module.train()
        self.found = self.measure(trainer, pl_module)
        raise EnoughError


def inside(cfg: DictConfig, measure: Callable[[L.Trainer, NoisyLabelMethod], Any]) -> Any:
    """What `measure` finds in a run of this configuration."""
    callback = Inside(measure)
    with run_of(cfg, [callback]) as run:
        run.fit()
    return callback.found


@contextmanager
def run_of(
    cfg: DictConfig, callbacks: Sequence[L.Callback] = (), typed: Collection[str] = ()
) -> Iterator[Run]:
    """The objects that `pmnar.tasks.train.train` makes, and these callbacks before all of its own.

    The run folder is a temporary one, with everything that a run writes to it.

    Args:
        cfg: the configuration; `recipe` and `minutes` choose in it.
        callbacks: first in their order.
        typed: keys that they leave as they are.
    """
    quieten()
    for text in ("may be starving", "is not below trainer.max_epochs"):  # as it is meant here
        warnings.filterwarnings("ignore", f".*{text}.*")
    compute = check(cfg)
    threads = torch.get_num_threads()
    set_up_process(compute.threads)
    data = load_and_choose(cfg, compute, typed)[0] if chooses(cfg) else load_data(cfg)
    method = build_method(cfg, data, compute)
    method.identity = {"config": OmegaConf.to_container(cfg, resolve=True)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ending = Ending(folder, cfg.trainer.max_epochs)
        own = [*ending.callbacks, SetUpProcess(compute.threads), *run_callbacks(cfg, data, folder)]
        trainer = build_trainer(cfg, compute, folder, [*callbacks, *own])
        try:
            yield Run(cfg, data, method, trainer, folder)
        finally:
            torch.set_num_threads(threads)


class EnoughError(Exception):
    """No further epoch is wanted."""


class Clock(L.Callback):
    """Notes when each epoch begins; put it first.

    From one epoch's beginning to the next one's is everything that an epoch takes: training,
    testing, the ordered pass, the tables, the checkpoint.

    Args:
        epochs: ends the run at the beginning of the one after so many.

    Attributes:
        seconds: of each epoch.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.seconds: list[float] = []
        self._began: float | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time, once the device has done what it was asked to."""
        self.tick(pl_module.device)
        if len(self.seconds) == self.epochs:
            raise EnoughError

    def tick(self, device: torch.device) -> None:
        """An epoch begins."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        if self._began is not None:
            self.seconds.append(now - self._began)
        self._began = now
