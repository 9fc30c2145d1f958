"""What a run's configuration says of keys that are newer than the run: their default values."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf

from pmnar.tasks.command import config_dir

MISSING = object()
Node = dict[str, Any]


def composed(config_name: str, overrides: list[str]) -> DictConfig:
    """A configuration composed beside the one that a command, or a sweep, is at work on."""
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose(config_name, overrides)
    finally:
        Singleton.set_state(state)  # a sweep goes on with it


def at_default(cfg: DictConfig) -> Node:
    """The part of a configuration that is as its groups' choices give it, resolved.

    A value that follows another key, which was set, follows it by default.
    """
    default = OmegaConf.to_container(composed("config", _choices(cfg)), resolve=False)
    raw = OmegaConf.to_container(cfg, resolve=False)
    resolved = OmegaConf.to_container(cfg, resolve=True)
    common: Node = _common(raw, default, resolved)
    return common


def _choices(cfg: DictConfig) -> list[str]:
    """The choices of groups, as overrides; of a composed configuration those that it names.

    The recipe follows from the others.
    """
    groups = {path.name for path in config_dir().iterdir() if path.is_dir()} - {"recipe"}
    if HydraConfig.initialized():
        # Of compare=, a configuration beside the command's own.
        chosen = dict(HydraConfig.get().runtime.choices) | {"method": cfg.method.get("name")}
    else:
        chosen = {group: cfg[group].get("name") for group in ("dataset", "method")}
    known = [(group, chosen[group]) for group in groups if group in chosen]
    return [f"{group}={name}" for group, name in known if _exists(group, name)]


def _exists(group: str, name: Any) -> bool:
    return Path(config_dir(), group, f"{name}.yaml").is_file()


def _common(raw: Any, default: Any, resolved: Any) -> Any:
    found: Node = {}
    for key, value in raw.items():
        other = default.get(key, MISSING)
        if isinstance(value, dict) and isinstance(other, dict):
            found[key] = _common(value, other, resolved[key])
        elif value == other:
            found[key] = resolved[key]
    return found


def filled_in(found: Any, defaults: Node) -> Any:
    """A run's configuration with those of the `defaults` that it lacks; what it has stays."""
    if not isinstance(found, dict):
        return found
    filled = dict(found)
    for key, value in defaults.items():
        if key not in filled:
            filled[key] = value
        elif isinstance(value, dict):
            filled[key] = filled_in(filled[key], value)
    return filled
