"""What the entry points do with a composed configuration."""

import json
from pathlib import Path

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pmnar.errors import InputError
from pmnar.tasks.cli import task_overrides
from pmnar.tasks.console import print_result, say
from pmnar.tasks.evaluate import evaluate
from pmnar.tasks.resume import resume
from pmnar.tasks.train import Summary, train


def train_job(cfg: DictConfig) -> None:
    """Train, and then the method of `compare=` on the same labels; print what came of it."""
    overrides = task_overrides()
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        say(f"job {HydraConfig.get().job.num}: {' '.join(overrides)}")
        # A rank that is a command of its own would run the whole sweep again.
        if cfg.trainer.strategy in ("auto", "ddp"):
            cfg.trainer.strategy = "ddp_spawn"
    if cfg.compare is not None and cfg.trainer.devices != 1:
        raise InputError(
            f"compare={cfg.compare} needs trainer.devices=1; train method={cfg.compare} by a "
            "command of its own, the same seed gives the same labels"
        )
    if cfg.compare is not None and cfg.resume is not None:
        raise InputError(
            f"compare={cfg.compare} cannot be combined with resume; train method={cfg.compare} "
            "with noise=file noise.path=<run folder>"
        )
    # Composed now, so that a mistyped method fails before the first one is trained.
    other = None if cfg.compare is None else _other_method(cfg.compare, overrides)
    summaries = [train(cfg) if cfg.resume is None else _go_on(Path(cfg.resume), overrides)]
    if other is not None:
        summaries.append(train(other))
    if all(summaries):
        print_result(summaries)


def _go_on(place: Path, overrides: list[str]) -> Summary:
    run = resume(place, overrides)
    for change in run.changes:
        say(f"changed  {change}")
    say(f"resuming {run.folder}")
    return train(run.config, run.folder, run.checkpoint)


def _other_method(name: str, overrides: list[str]) -> DictConfig:
    """The same configuration with another method; overrides meant for the first are left out."""
    kept = [o for o in overrides if not o.lstrip("+~").startswith(("method", "compare", "resume"))]
    return compose("config", [*kept, f"method={name}", "logger=none"])


def evaluate_job(cfg: DictConfig) -> None:
    """Evaluate a run, and print the figures as JSON."""
    say(json.dumps(evaluate(cfg), indent=2, ensure_ascii=False))
