"""What a run's configuration says of keys that are newer than the run: their default values."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pmnar.tasks.command import config_dir, plain

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

    A value that follows another key, which was set, follows it by default. A value that was typed
    and is the default one is that, however it is written.
    """
    default = OmegaConf.to_container(composed("config", _choices(cfg)), resolve=False)
    raw = OmegaConf.to_container(cfg, resolve=False)
    resolved = OmegaConf.to_container(cfg, resolve=True)
    common: Node = _common(cfg, raw, default, resolved)
    return common


def _choices(cfg: DictConfig) -> list[str]:
    """The choices of groups, as overrides; of a composed configuration those that it names.

    What a paper says follows from the others.
    """
    groups = {path.name for path in config_dir().iterdir() if path.is_dir()} - {"paper"}
    if HydraConfig.initialized():
        # Of compare=, a configuration beside the command's own.
        chosen = dict(HydraConfig.get().runtime.choices) | {"method": cfg.method.get("name")}
    else:
        chosen = {group: cfg[group].get("name") for group in ("dataset", "method")}
    known = [(group, chosen[group]) for group in groups if group in chosen]
    return [f"{group}={name}" for group, name in known if _exists(group, name)]


def _exists(group: str, name: Any) -> bool:
    return Path(config_dir(), group, f"{name}.yaml").is_file()


def _common(cfg: DictConfig, raw: Any, default: Any, resolved: Any, above: str = "") -> Any:
    found: Node = {}
    for key, value in raw.items():
        other = default.get(key, MISSING)
        if isinstance(value, dict) and isinstance(other, dict):
            found[key] = _common(cfg, value, other, resolved[key], f"{above}{key}.")
        elif value == other or _value_in(cfg, f"{above}{key}", other) == resolved[key]:
            found[key] = resolved[key]
    return found


def _value_in(cfg: DictConfig, place: str, default: Any) -> Any:
    """What a key would be in this configuration if its default had been left there."""
    if not isinstance(default, str) or "${" not in default:
        return default
    left = cfg.copy()
    OmegaConf.update(left, place, default, merge=False)
    try:
        return plain(OmegaConf.select(left, place))
    except OmegaConfBaseException:  # what it follows is no longer there
        return MISSING


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
