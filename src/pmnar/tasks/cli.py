"""The command line: Hydra's, with errors that fit on a line."""

import difflib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pmnar.errors import InputError, NonFiniteLossError

# Hydra would print and exit itself; with this it raises, and we say what was wrong in a line.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")
# Read once, when PyTorch is loaded, which is later. Threads that spin while they wait made a run
# ten times slower where another process wanted the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def config_dir() -> Path:
    """The configuration groups: inside an installed package, or beside `src/` in the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def train() -> None:
    """Entry point of `pmnar-train` and `python -m src.train`."""
    from pmnar.tasks.jobs import train_job

    _run("config", train_job)


def evaluate() -> None:
    """Entry point of `pmnar-evaluate` and `python -m src.evaluate`."""
    from pmnar.tasks.jobs import evaluate_job

    _run("evaluate", evaluate_job)


def _run(config_name: str, job: Callable[[DictConfig], None]) -> None:
    failed = False

    def told(cfg: DictConfig) -> None:
        # Caught inside the job: Hydra would print a line of its own, and end a sweep.
        nonlocal failed
        failed |= _fails(lambda: job(cfg), config_name)

    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)
    if _fails(main(told), config_name) or failed:
        sys.exit(2)


def _fails(action: Callable[[], None], config_name: str) -> bool:
    """Do it, and say in a line what was wrong with the input; whether anything was."""
    try:
        action()
    except (HydraException, OmegaConfBaseException) as error:
        message = explain(error, config_name)
    except (InputError, NonFiniteLossError) as error:
        message = str(error)
    else:
        return False
    print(f"error: {message}", file=sys.stderr)
    return True


def explain(error: Exception, config_name: str) -> str:
    """What is wrong with an override, and the nearest names that exist, on one line."""
    if isinstance(error, MissingConfigException) and error.options:
        wanted = str(error.missing_cfg_file)
        group, _, name = wanted.rpartition("/")
        return f"{group}={name} does not exist; {_nearest(name, error.options)}"
    cause = error.__cause__ or error
    key = getattr(cause, "full_key", None) or _quoted(str(error))
    message = str(error).splitlines()[0].rstrip(".")
    if not key:
        return message
    return f"{message}; {_nearest(key, known_keys(config_name))}"


def _quoted(message: str) -> str:
    parts = message.split("'")
    return parts[1] if len(parts) > 1 else ""


def _nearest(name: str, options: Iterable[str]) -> str:
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
    return _flatten(OmegaConf.to_container(cfg, resolve=False), "")


def _flatten(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return []
    below = [key for name in node for key in _flatten(node[name], f"{prefix}{name}.")]
    return [f"{prefix}{name}" for name in node] + below


def task_overrides() -> list[str]:
    """The overrides that the user typed for this job."""
    return list(HydraConfig.get().overrides.task)
