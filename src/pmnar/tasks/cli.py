"""The entry points: Hydra's, with errors that fit on a line."""

import os
import secrets
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import hydra
from omegaconf import DictConfig

from pmnar.runtime.process import check_temporary, check_threads, prepare_environment
from pmnar.runtime.terminal import lost_output, steady_output
from pmnar.tasks import command
from pmnar.tasks.arguments import check_arguments
from pmnar.tasks.command import SET_ASIDE, SWEEP, config_dir, for_hydra
from pmnar.tasks.mistakes import one_line_errors
from pmnar.tasks.moved import check_typed
from pmnar.tasks.sweep import end_sweep

# Before PyTorch is loaded, in the processes that a launcher starts, too.
prepare_environment()


def train() -> None:
    """Entry point of `pmnar-train` and `python -m src.train`."""
    _run("config", train_job)


def evaluate() -> None:
    """Entry point of `pmnar-evaluate` and `python -m src.evaluate`."""
    _run("evaluate", evaluate_job)
    if lost_output():  # what training found is in its folder; here it is all there is
        print("error: the result could not be written to the standard output", file=sys.stderr)
        sys.exit(1)


def predict() -> None:
    """Entry point of `pmnar-predict` and `python -m src.predict`."""
    _run("predict", predict_job)


# The jobs' own modules take seconds to load. Help and mistyped overrides are answered without them.
def train_job(cfg: DictConfig) -> float | None:
    """Load what training needs, and train."""
    with command.loading():
        from pmnar.tasks import jobs
    return jobs.train_job(cfg)


def evaluate_job(cfg: DictConfig) -> None:
    """Load what evaluating needs, and evaluate."""
    with command.loading():
        from pmnar.tasks import jobs
    jobs.evaluate_job(cfg)


def predict_job(cfg: DictConfig) -> None:
    """Load what predicting needs, and predict."""
    with command.loading():
        from pmnar.tasks import jobs
    jobs.predict_job(cfg)


def _run(config_name: str, job: Callable[[DictConfig], Any]) -> None:
    steady_output()
    failed = False
    try:
        with one_line_errors(config_name):
            check_temporary()
            check_threads()
            check_arguments(sys.argv[1:], config_name)
            try:
                _run_hydra(config_name, job)
            finally:
                failed = end_sweep()
    except KeyboardInterrupt:
        print("stopped by SIGINT", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    if failed:
        sys.exit(2)


def _run_hydra(config_name: str, job: Callable[[DictConfig], Any]) -> None:
    if config_name == "config":
        check_typed(sys.argv[1:])
    # A name that no other sweep has, and that every process started by this one knows.
    os.environ[SWEEP] = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)
    typed = sys.argv
    sys.argv = [*typed[:1], *for_hydra(typed[1:])]

    def restored(cfg: DictConfig) -> Any:
        sys.argv = typed  # what further ranks are started with
        return job(cfg)

    main(restored if SET_ASIDE else job)()
