"""Settings of Lightning's Trainer: those that may be set, and those that are ours."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from pmnar.errors import InputError
from pmnar.tasks import trainer
from pmnar.tasks.devices import parse_compute
from pmnar.tasks.evaluate import evaluate
from pmnar.tasks.trainer import OURS

Run = Callable[..., Path]
Refuse = Callable[..., str]

GPUS = torch.cuda.device_count()
REFUSED = {
    "trainer.precision=16-mixed": (
        "trainer.precision must be one of auto, 32-true, bf16-mixed, got 16-mixed"
    ),
    "trainer.strategy=deepspeed": (
        "trainer.strategy must be one of auto, ddp, ddp_spawn, ddp_fork, got deepspeed"
    ),
    "trainer.devices=0": "trainer.devices must be at least 1, got 0",
    "trainer.devices=[0]": "trainer.devices=[0] names GPUs; on trainer.accelerator=cpu it is",
    "trainer.devices=two": (
        "trainer.devices must be a number, auto, or a list of GPUs' numbers, got two"
    ),
    "trainer.num_nodes=0": "trainer.num_nodes must be at least 1, got 0",
    "trainer.accelerator=mps": (
        "trainer.accelerator must be one of auto, cpu, cuda, gpu, got mps (Apple's GPUs lack"
    ),
    "trainer.limit_train_batches=2.5": "trainer: You have passed invalid value 2.5 for limit_train",
    "trainer.deterministic=perhaps": "trainer.deterministic must be true or false, got perhaps",
    "trainer.sync_batchnorm=7": "trainer.sync_batchnorm must be true or false, got 7",
    "+trainer.gpus=1": "has no gpus any more: set trainer.accelerator=gpu trainer.devices=1",
    "+trainer.max_epoch=3": "Lightning's Trainer has no max_epoch; did you mean max_epochs",
    "+trainer.gradient_clip_val=1.0": (
        "trainer.gradient_clip_val cannot be set: each network's gradient is clipped on its own, "
        "by method.gradient_clip"
    ),
    "logger=wandb logger.offline=true +logger.log_model=true": "logger: ",
    "logger=tensorboard logger._target_=pmnar.Nothing": "logger: ",
    "logger=tensorboard +logger.foo=1": "logger: SummaryWriter.__init__() got an unexpected",
    "checkpoint.every=0": "checkpoint.every must be at least 1, got 0",
    f"trainer.accelerator=gpu trainer.devices={GPUS + 1}": (
        f"trainer.devices={GPUS + 1}, but this machine has {GPUS} GPUs"
    ),
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_value_is_refused(refuse: Refuse, overrides: str) -> None:
    assert REFUSED[overrides] in refuse(*overrides.split())


@pytest.mark.parametrize("name", OURS)
def test_setting_that_is_ours_is_refused_by_name(refuse: Refuse, name: str) -> None:
    assert f"trainer.{name} cannot be set: " in refuse(f"+trainer.{name}=1")


def test_every_setting_that_the_trainer_is_given_is_ours_or_may_be_set(
    monkeypatch: pytest.MonkeyPatch, composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    """None of them can be given twice."""
    given: dict[str, object] = {}
    cfg = composed("trainer.accelerator=cpu", "logger=none")
    monkeypatch.setattr(trainer, "instantiated", lambda key, settings, **ours: given.update(ours))
    trainer.build_trainer(cfg, parse_compute(cfg), tmp_path, [])
    assert given.keys() <= OURS.keys() | cfg.trainer.keys()


def test_settings_that_are_not_ours_may_be_set(short_run: Run) -> None:
    folder = short_run("+trainer.log_every_n_steps=50", "+trainer.benchmark=false")
    assert (folder / "summary.json").is_file()


def test_a_run_from_before_a_setting_was_ours_is_evaluated(
    composed: Callable[..., DictConfig], short_run: Run
) -> None:
    folder = short_run("trainer.max_epochs=1", "method=ce")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    content["pmnar"]["config"]["trainer"]["max_time"] = "00:01:00:00"
    torch.save(content, checkpoint)
    found = evaluate(composed(f"run={folder}", "accelerator=cpu", name="evaluate"))
    assert found["epochs"] == 1
    with pytest.raises(InputError, match=r"^accelerator must be one of auto, cpu, cuda, gpu, got"):
        evaluate(composed(f"run={folder}", "accelerator=tpu", name="evaluate"))
