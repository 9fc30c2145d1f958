"""What all tasks need of the command line: its overrides, and where configurations are."""

import gc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

SWEEP = "PMNAR_SWEEP"
"""The variable that holds the name of the sweep's folder."""
OF_THE_COMMAND = (
    *("resume", "runs_dir", "compare", "skip_done", "objective"),
    *("launcher", "sweeper", "hydra"),
)
"""Overrides that are a command's own, and never a resumed run's."""
SCHEDULER = "dataset.recipe.scheduler"
"""Where a file of `conf/paper` says which scheduler its method has for its data set."""
SET_ASIDE: list[str] = []
"""Overrides for the configuration of the run that this command resumes."""


def _gpus(accelerator: str, devices: Any) -> Any:
    return None if accelerator == "cpu" else devices


def _choices() -> str:
    """A line for each group that is chosen from, with its choices, as `--help` shows them."""
    groups = [path for path in config_dir().iterdir() if path.is_dir() and path.name != "paper"]
    lines = {path.name: sorted(each.stem for each in path.glob("[!_]*.yaml")) for path in groups}
    return "\n".join(f"{group}: {', '.join(lines[group])}" for group in sorted(lines))


def _of_paper(method: str, dataset: str, otherwise: str) -> str:
    """The `dataset.recipe.scheduler` of `conf/paper/<method>_<dataset>.yaml`, where it says one.

    In a defaults list Hydra gives it the choices of both groups. That file itself may override
    none: Hydra forbids it to what is chosen by other choices.
    """
    path = config_dir() / "paper" / f"{method}_{dataset}.yaml"
    if not path.is_file():
        return otherwise
    return str(OmegaConf.select(OmegaConf.load(path), SCHEDULER, default=otherwise))


# What configurations cannot do themselves.
OmegaConf.register_new_resolver("gpus", _gpus, replace=True)
OmegaConf.register_new_resolver("of_paper", _of_paper, replace=True)
OmegaConf.register_new_resolver("half", lambda number: max(number // 2, 1), replace=True)
OmegaConf.register_new_resolver("quarter", lambda number: max(number // 4, 1), replace=True)
OmegaConf.register_new_resolver("choices", _choices, replace=True)


def config_dir() -> Path:
    """The configuration groups: inside an installed package, or beside `src/` in the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def for_hydra(arguments: list[str]) -> list[str]:
    """The arguments, but for overrides that are meant for the configuration of a resumed run.

    Those are set aside: Hydra would hold them against the default configuration, which may lack
    what that run's has.
    """
    SET_ASIDE.clear()
    resumes = any(argument.startswith("resume=") for argument in arguments)
    if not resumes or any(argument.startswith("-") for argument in arguments):
        return arguments
    kept = [a for a in arguments if re.split("[.=/@]", a.lstrip("+~"))[0] in OF_THE_COMMAND]
    SET_ASIDE.extend(a for a in arguments if a not in kept)
    return kept


def task_overrides() -> list[str]:
    """The overrides that the user typed for this job."""
    return [*HydraConfig.get().overrides.task, *SET_ASIDE]


def plain(node: Any) -> Any:
    """A configuration node as plain dictionaries, lists and values, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


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
