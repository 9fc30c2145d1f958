"""Earlier runs of the same configuration."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from pmnar.noise import NoisyLabels
from pmnar.noise.fingerprint import check_unchanged
from pmnar.runtime.run_folder import CHECKPOINT, CONFIG
from pmnar.tasks.choose import with_choice
from pmnar.tasks.defaults import at_default, filled_in
from pmnar.tasks.moved import under_new_keys
from pmnar.tasks.places import LABELS, SUMMARY, read_summary

MANNER = (
    *("logger", "figures", "checkpoint", "data.num_workers", "data.resident"),
    *("trainer.enable_progress_bar", "trainer.strategy"),
)
"""Keys that say how a run is done, and change none of its results."""
IRRELEVANT = (*MANNER, "data_dir", "runs_dir", "resume", "skip_done", "compare", "objective")
"""Keys that may differ between two runs with the same results."""
# Ten times faster, where PyYAML was built with it.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def matching_runs(cfg: DictConfig, typed: Collection[str] = ()) -> list[Path]:
    """Run folders below `cfg.runs_dir` with just this configuration, oldest first.

    Whether they are finished is not asked. Keys in `IRRELEVANT` are not compared; a key that is
    newer than a run had its default value then. What a run chose for itself, of keys that are not
    `typed`, this one would choose too.
    """
    wanted = relevant(OmegaConf.to_yaml(cfg, resolve=True))
    defaults = without_irrelevant(at_default(cfg))
    names = [re.sub(r"[^\w.+-]+", "*", cfg[group].name) for group in ("dataset", "method")]
    places = Path(cfg.runs_dir).absolute().glob(f"{names[0]}/*/{names[1]}/*/{CONFIG}")
    same = []
    for path in places:
        found = _as_of_now(path, defaults)
        sought = _sought(cfg, wanted, found, typed)
        if found == sought and not was_changed(path.parent, sought, defaults):
            same.append(path.parent)
    return sorted(same, key=lambda folder: folder.name)  # which begins with the time


def _sought(cfg: DictConfig, wanted: Any, found: Any, typed: Collection[str]) -> Any:
    """What `found` must be to be a run of `cfg`, `wanted` where it has chosen nothing."""
    chosen = found.get("chosen") if isinstance(found, dict) else None
    if not chosen:
        return wanted
    return relevant(OmegaConf.to_yaml(with_choice(cfg, chosen, typed), resolve=True))


def choice_of(run: Path) -> list[str]:
    """What an earlier run has chosen for itself, as it would be typed."""
    return list((relevant((run / CONFIG).read_text("utf-8")) or {}).get("chosen") or ())


def as_in(run: Path, cfg: DictConfig, typed: Collection[str]) -> DictConfig:
    """A configuration with what an earlier run of it has chosen."""
    chosen = choice_of(run)
    return with_choice(cfg, chosen, typed) if chosen else cfg


def _as_of_now(path: Path, defaults: dict[str, Any]) -> Any:
    return filled_in(relevant(path.read_text("utf-8")), defaults)


def was_changed(run: Path, wanted: Any, defaults: dict[str, Any]) -> bool:
    """Whether another configuration, apart from the number of epochs, trained some of a run."""
    earlier = [_as_of_now(path, defaults) for path in run.glob("config-until-epoch-*.yaml")]
    return any(without_epochs(one) != without_epochs(wanted) for one in earlier)


def without_epochs(found: Any) -> Any:
    """A configuration apart from `trainer.max_epochs`."""
    if not isinstance(found, dict) or not isinstance(found.get("trainer"), dict):
        return found
    trainer = {key: value for key, value in found["trainer"].items() if key != "max_epochs"}
    return found | {"trainer": trainer}


def earlier_run(cfg: DictConfig, typed: Collection[str] = ()) -> Path | None:
    """The newest finished run of this configuration.

    Where there is none, the newest that has a checkpoint to go on from.
    """
    runs = matching_runs(cfg, typed)
    finished = [run for run in runs if is_finished(run, as_in(run, cfg, typed))]
    begun = [run for run in runs if (run / CHECKPOINT).is_file()]
    return next(reversed(finished or begun), None)


def is_finished(run: Path, cfg: DictConfig) -> bool:
    """Whether a run's summary is of as many epochs as asked for: it may have been resumed since."""
    epochs = 1 if cfg.trainer.fast_dev_run else cfg.trainer.max_epochs
    return (run / SUMMARY).is_file() and read_summary(run)["epochs"] >= epochs


def check_same_images(run: Path, labels: NoisyLabels) -> None:
    """Raise `InputError` unless the images of a run are still what its `labels.npz` says.

    A run without one, or from before it said so, is not refused.
    """
    if (run / LABELS).is_file():
        before = NoisyLabels.load(run / LABELS).whole()
        check_unchanged(before.fingerprint, labels.whole().fingerprint, run)


def relevant(text: str) -> Any:
    """What a `config.yaml` holds under the keys of now, without `IRRELEVANT`; or None."""
    try:
        found = yaml.load(text, LOADER)
    except yaml.YAMLError:
        return None
    return without_irrelevant(under_new_keys(found))


def without_irrelevant(found: Any) -> Any:
    """A configuration from which `IRRELEVANT` has been removed, in place."""
    for key in IRRELEVANT:
        *groups, last = key.split(".")
        node = found
        for group in groups:
            node = node.get(group) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return found


def in_manner_of(cfg: DictConfig, config: DictConfig) -> None:
    """Give an earlier run's `config` this command's values of the keys in `MANNER`."""
    for key in MANNER:
        OmegaConf.update(config, key, OmegaConf.select(cfg, key), merge=False, force_add=True)
