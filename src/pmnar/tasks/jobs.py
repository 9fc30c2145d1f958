"""What the entry points do with a composed configuration."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pmnar.errors import InputError
from pmnar.noise import NoisyLabels
from pmnar.runtime.compute import planned_world_size
from pmnar.runtime.quiet import quieten
from pmnar.runtime.run_folder import is_first_process
from pmnar.tasks.choose import EPOCHS_AND_SHAPE, typed_keys, with_choice
from pmnar.tasks.cluster import run_of_this_job
from pmnar.tasks.command import config_dir, plain, task_overrides
from pmnar.tasks.console import print_result, say
from pmnar.tasks.devices import choose_nodes
from pmnar.tasks.find import (
    as_in,
    check_same_images,
    choice_of,
    earlier_run,
    in_manner_of,
    is_finished,
)
from pmnar.tasks.mistakes import nearest, one_line_errors
from pmnar.tasks.places import LABELS, check_paths, read_summary
from pmnar.tasks.resume import Resumed, resume
from pmnar.tasks.sweep import (
    check_objective,
    objective_value,
    recorded,
    result_of,
    started_as_ranks,
)
from pmnar.tasks.train import Summary, load_data, train


class Outcome(NamedTuple):
    """A run's summary, empty on a rank other than the first, and whether it was there already."""

    summary: Summary
    skipped: bool = False


def train_job(cfg: DictConfig) -> float | None:
    """Train, alone or as a job of a sweep; the value of `objective`, where there is one."""
    quieten()
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        with one_line_errors("config"):
            check_alone(hydra.runtime.choices)
            return objective_value(cfg.objective, _train(cfg).summary)
    number, overrides = hydra.job.num, task_overrides()
    if is_first_process():
        say(f"job {number}: {' '.join(overrides)}")
    with recorded(Path(hydra.sweep.dir), number, overrides) as record:
        spawn_ranks(cfg)
        summary, skipped = _train(cfg)
        if summary:
            record |= {"skipped": skipped, **result_of(summary)}
        record["objective"] = objective_value(cfg.objective, summary)
    objective: float | None = record.get("objective")
    return objective


def check_alone(choices: Mapping[str, str]) -> None:
    """Raise `InputError` where a single run was given what only a sweep has."""
    for name in ("launcher", "sweeper"):
        if choices.get(name, "basic") != "basic":
            raise InputError(f"{name}={choices[name]} needs -m: python -m src.train -m …")


def spawn_ranks(cfg: DictConfig) -> None:
    """A rank that is a command of its own would run the whole sweep again: spawn it."""
    nodes = choose_nodes(cfg.trainer.num_nodes)
    several = planned_world_size(plain(cfg.trainer.devices), nodes) > 1
    if several and not started_as_ranks() and cfg.trainer.strategy in ("auto", "ddp"):
        cfg.trainer.strategy = "ddp_spawn"


def _train(cfg: DictConfig) -> Outcome:
    """Train, and then the method of `compare=` on the same labels; print what came of it."""
    overrides = task_overrides()
    check_paths(cfg, overrides)
    check_objective(cfg)
    check_compare(cfg)
    # Composed now, so that a mistyped method fails before the first one is trained.
    kept = [] if cfg.compare is None else _of_both_methods(overrides)
    other = None if cfg.compare is None else _other_method(cfg.compare, kept)
    epochs = cfg.dataset.recipe.max_epochs  # as its paper has it: a run chooses others
    outcomes = [_run(cfg, overrides)]
    if other is not None:
        outcomes.append(_run(_alike(other, outcomes[0], kept, epochs), kept))
    if all(outcome.summary for outcome in outcomes):
        print_result([outcome.summary for outcome in outcomes])
    return outcomes[0]


def _alike(cfg: DictConfig, outcome: Outcome, overrides: list[str], epochs: int) -> DictConfig:
    """The configuration with what an earlier run of another method chose for any method.

    Where its own recipe has another number of `epochs`, it chooses what goes by them for itself.
    """
    if "run" not in outcome.summary:
        return cfg
    of_epochs = EPOCHS_AND_SHAPE if cfg.dataset.recipe.max_epochs != epochs else ()
    chosen = choice_of(Path(outcome.summary["run"]))
    for_any = [text for text in chosen if not text.startswith(("method.", *of_epochs))]
    return with_choice(cfg, for_any, typed_keys(overrides)) if chosen else cfg


def check_compare(cfg: DictConfig) -> None:
    """Refuse a second method that is none, or could not be trained on the same labels."""
    known = [path.stem for path in (config_dir() / "method").glob("*.yaml")]
    if cfg.compare is not None and cfg.compare not in known:
        raise InputError(f"compare={cfg.compare} is no method; {nearest(str(cfg.compare), known)}")
    if cfg.compare is not None and cfg.compare == cfg.method.name:
        raise InputError(f"compare={cfg.compare} is what method={cfg.method.name} trains already")
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


def _run(cfg: DictConfig, overrides: list[str]) -> Outcome:
    if cfg.resume is not None:
        run = resume(Path(cfg.resume), overrides)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            spawn_ranks(run.config)
        return Outcome(_go_on(run))
    typed = typed_keys([*overrides, *(cfg.get("chosen") or ())])
    earlier = run_of_this_job(cfg, typed)
    if earlier is None and cfg.skip_done:
        earlier = earlier_run(cfg, typed)
    if earlier is None:
        return Outcome(train(cfg, typed=typed))
    cfg = as_in(earlier, cfg, typed)
    if is_finished(earlier, cfg):
        if not is_first_process():
            return Outcome({}, skipped=True)
        check_same_data(earlier, cfg)
        say(f"skipped: {earlier} has it")
        return Outcome(read_summary(earlier), skipped=True)
    run = resume(earlier, [])
    in_manner_of(cfg, run.config)
    return Outcome(_go_on(run))


def check_same_data(run: Path, cfg: DictConfig) -> None:
    """Raise `InputError` where a finished run's images or labels are no longer those of `cfg`.

    Only of a run that has kept what its images were is anything loaded.
    """
    if not (run / LABELS).is_file():
        return
    before = NoisyLabels.load(run / LABELS).whole()
    if before.fingerprint is None:
        return
    now = load_data(cfg).labels.whole()
    check_same_images(run, now)
    if not np.array_equal(before.given, now.given):
        raise InputError(
            f"{run} was trained on other given labels than noise={now.name} gives now; "
            "skip_done=false begins a new run"
        )


def _go_on(run: Resumed) -> Summary:
    said = [*(f"changed  {change}" for change in run.changes), f"{how_far(run)} {run.folder}"]
    return train(run.config, run.folder, run.checkpoint, said)


def how_far(run: Resumed) -> str:
    """Where a resumed run stands."""
    epochs = run.config.trainer.max_epochs
    if run.epochs == 0:
        return "beginning again"
    if run.epochs == epochs:
        return f"finished, {epochs} of {epochs} epochs:"
    return f"resuming after epoch {run.epochs} of {epochs}:"


def _of_both_methods(overrides: list[str]) -> list[str]:
    """The overrides but for those that are meant for the first method."""
    return [o for o in overrides if not o.lstrip("+~").startswith(("method", "compare", "resume"))]


def _other_method(name: str, kept: list[str]) -> DictConfig:
    """The same configuration with another method."""
    return compose("config", [*kept, f"method={name}", "logger=none"])


def evaluate_job(cfg: DictConfig) -> None:
    """Evaluate a run, and print the result as JSON."""
    from pmnar.tasks.evaluate import evaluate  # training needs none of it

    with one_line_errors("evaluate"):
        check_paths(cfg, task_overrides())
        say(json.dumps(evaluate(cfg), indent=2, ensure_ascii=False))


def predict_job(cfg: DictConfig) -> None:
    """Predict images, and print what came of it as JSON."""
    from pmnar.tasks.predict import predict

    with one_line_errors("predict"):
        check_paths(cfg, task_overrides())
        say(json.dumps(predict(cfg), indent=2, ensure_ascii=False))
