"""The command line: Hydra's, with errors that fit on a line."""

import difflib
import gc
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pmnar.errors import TOLD, NonFiniteLossError, RankLostError, WriteError
from pmnar.runtime.run_folder import is_first_process

# Hydra would print and exit itself; with this it raises, and we say what was wrong in a line.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")
# Read once, when PyTorch is loaded, which is later. Threads that spin while they wait made a run
# ten times slower where another process wanted the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A rank that finds another one gone says so itself, in a line instead of a C++ backtrace.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

SWEEP = "PMNAR_SWEEP"
"""The variable that holds the name of the sweep's folder."""
PLUGINS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/sweeper/optuna": "optuna",
}
"""Choices that other packages bring, and the extra that installs them."""
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


def line_of(error: Exception, config_name: str) -> str | None:
    """What went wrong, on one line; None for an error that was not foreseen."""
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error, config_name)
    if isinstance(error, TOLD):
        return str(error)
    if str(error) == "No trials are completed yet.":
        return "no trial of the search came to its end"
    if str(error).startswith('Could not detect "srun"'):
        return (
            "launcher=submitit_slurm needs SLURM's sbatch and srun, which are not on this machine"
        )
    if type(error).__name__ == "TerminatedWorkerError":  # joblib's
        return "the process of a job was killed, which ends all of launcher=joblib's"
    if type(error).__module__.startswith("submitit."):
        return str(error).strip().splitlines()[-1]
    return None


def explain(error: Exception, config_name: str) -> str:
    """What is wrong with an override, and the nearest names that exist, on one line."""
    if isinstance(error, MissingConfigException) and error.options:
        wanted = str(error.missing_cfg_file)
        if wanted in PLUGINS:
            choice = wanted.removeprefix("hydra/").replace("/", "=")
            return f"{choice} needs a plugin: pip install 'pmnar[{PLUGINS[wanted]}]'"
        group, _, name = wanted.rpartition("/")
        return f"{group}={name} does not exist; {nearest(name, error.options)}"
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None) or _quoted(str(error))
    message = str(error).splitlines()[0].rstrip(".")
    if not key:
        return message
    return f"{message}; {nearest(key, known_keys(config_name))}"


def _quoted(message: str) -> str:
    parts = message.split("'")
    return parts[1] if len(parts) > 1 else ""


def nearest(name: str, options: Iterable[str]) -> str:
    """`did you mean …?`, or all options where they are few."""
    options = sorted(options)
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    # A key is often right but for its group.
    last = name.rsplit(".", 1)[-1]
    close += [key for key in options if key.rsplit(".", 1)[-1] == last and key not in close]
    if close:
        return f"did you mean {', '.join(close[:4])}?"
    return f"there are {', '.join(options)}" if len(options) <= 20 else "see --help"


def known_keys(config_name: str) -> list[str]:
    """Every key of the default configuration, dotted, and the groups."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.singleton import Singleton

    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose(config_name)
    finally:
        Singleton.set_state(state)  # a sweep goes on with it
    return dotted_keys(OmegaConf.to_container(cfg, resolve=False))


def dotted_keys(node: Any, prefix: str = "") -> list[str]:
    """Every key of nested dictionaries, such as `method.beta`, and the groups."""
    if not isinstance(node, dict):
        return []
    below = [key for name in node for key in dotted_keys(node[name], f"{prefix}{name}.")]
    return [f"{prefix}{name}" for name in node] + below


def task_overrides() -> list[str]:
    """The overrides that the user typed for this job."""
    return [*HydraConfig.get().overrides.task, *SET_ASIDE]
