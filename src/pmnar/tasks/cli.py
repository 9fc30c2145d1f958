"""The command line: Hydra's, with errors that fit on a line."""

import gc
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pmnar.errors import NonFiniteLossError, RankLostError, WriteError
from pmnar.runtime.run_folder import is_first_process
from pmnar.tasks.mistakes import line_of

# Hydra would print and exit itself; with this it raises, and we say what was wrong in a line.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")
# Read once, when PyTorch is loaded, which is later. Threads that spin while they wait made a run
# ten times slower where another process wanted the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A rank that finds another one gone says so itself, in a line instead of a C++ backtrace.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

SWEEP = "PMNAR_SWEEP"
"""The variable that holds the name of the sweep's folder."""
OF_THE_COMMAND = (
    *("resume", "runs_dir", "compare", "skip_done", "objective"),
    *("launcher", "sweeper", "hydra"),
)
"""Overrides that are a command's own, and never a resumed run's."""
SET_ASIDE: list[str] = []
"""Overrides for the configuration of the run that this command resumes."""


def _gpus(accelerator: str, devices: Any) -> Any:
    return None if accelerator == "cpu" else devices


# Arithmetic that configurations cannot do themselves.
OmegaConf.register_new_resolver("gpus", _gpus, replace=True)
OmegaConf.register_new_resolver("quarter", lambda number: max(number // 4, 1), replace=True)


def config_dir() -> Path:
    """The configuration groups: inside an installed package, or beside `src/` in the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def train() -> None:
    """Entry point of `pmnar-train` and `python -m src.train`."""
    _run("config", train_job)


def evaluate() -> None:
    """Entry point of `pmnar-evaluate` and `python -m src.evaluate`."""
    _run("evaluate", evaluate_job)


# The jobs' own modules take seconds to load. Help and mistyped overrides are answered without them.
def train_job(cfg: DictConfig) -> float | None:
    """Load what training needs, and train."""
    with loading():
        from pmnar.tasks import jobs
    return jobs.train_job(cfg)


def evaluate_job(cfg: DictConfig) -> None:
    """Load what evaluating needs, and evaluate."""
    with loading():
        from pmnar.tasks import jobs
    jobs.evaluate_job(cfg)


@contextmanager
def loading() -> Iterator[None]:
    """Around the import of PyTorch and Lightning, which leaves half a million objects for good.

    Python would look all of them through in search of garbage: several times while they are made,
    again and again while a run trains, and once more at its end. That took two seconds of a run.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield  # what is there by now may be garbage some day
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _run(config_name: str, job: Callable[[DictConfig], Any]) -> None:
    failed = False
    try:
        with told(config_name):
            # Imported here, since it imports this module.
            from pmnar.tasks.sweep import end_sweep

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
    # A name that no other sweep has, and that every process started by this one knows.
    os.environ[SWEEP] = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)
    typed = sys.argv
    sys.argv = [*typed[:1], *_for_hydra(typed[1:])]

    def restored(cfg: DictConfig) -> Any:
        sys.argv = typed  # what further ranks are started with
        return job(cfg)

    main(restored if SET_ASIDE else job)()


def _for_hydra(arguments: list[str]) -> list[str]:
    """The arguments, but for overrides that are meant for the configuration of a resumed run.

    Those are set aside: Hydra would hold them against the default configuration, which may lack
    what that run's has.
    """
    SET_ASIDE.clear()
    resumes = any(argument.startswith("resume=") for argument in arguments)
    if not resumes or any(argument.startswith("-") for argument in arguments):
        return arguments
    for_hydra = [a for a in arguments if re.split("[.=/@]", a.lstrip("+~"))[0] in OF_THE_COMMAND]
    SET_ASIDE.extend(a for a in arguments if a not in for_hydra)
    return for_hydra


@contextmanager
def told(config_name: str) -> Iterator[None]:
    """Says what was wrong with the input in a line.

    Around a single run inside the job, too: Hydra would print lines of its own.

    Raises:
        SystemExit: with 2 for a bad input, 1 for what else can be told in a line.
    """
    try:
        yield
    except Exception as error:
        line = line_of(error, config_name)
        if line is None:
            raise
        # All ranks know of a loss that is not finite, and one says it.
        if is_first_process() or not isinstance(error, NonFiniteLossError):
            print(f"error: {line}", file=sys.stderr)
        sys.exit(1 if isinstance(error, WriteError | RankLostError) else 2)


def task_overrides() -> list[str]:
    """The overrides that the user typed for this job."""
    return [*HydraConfig.get().overrides.task, *SET_ASIDE]
