"""What `recipe=` and `minutes=` choose, written into the configuration where it was not typed."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import yaml
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from pmnar.checks import check_counts
from pmnar.data import NoisyDataModule
from pmnar.data.batches import check_batch_size
from pmnar.errors import InputError
from pmnar.networks.timm_bridge import images_of
from pmnar.runtime.compute import Compute
from pmnar.tasks import sizes
from pmnar.tasks.command import plain
from pmnar.tasks.instances import instantiated
from pmnar.tasks.network import begins_trained
from pmnar.tasks.pace import duration, seconds_of_an_epoch
from pmnar.tasks.places import telling_from_where
from pmnar.tasks.sizes import scaled

RECIPES = ("paper", "small", "auto")
RECIPE = "dataset.recipe"
EPOCHS = f"{RECIPE}.max_epochs"
EPOCHS_AND_SHAPE = (EPOCHS, f"{RECIPE}.milestones", f"{RECIPE}.cosine_epochs", "scheduler.T_0")
ALSO = {
    f"{RECIPE}.batch_size": "data.batch_size",
    f"{RECIPE}.milestones": "scheduler.milestones",
    f"{RECIPE}.cosine_epochs": "scheduler.T_max",
    **dict.fromkeys(("dataset.mean", "dataset.std"), "dataset.normalisation"),
}
"""Keys that follow another: who types one has said what the other is for."""
WARM_UP = "warmup_epochs"
BEGINNINGS = (WARM_UP, "gradual_epochs", "ramp_epochs")
"""What methods begin with. Other keys in epochs are of stages, one after another."""
AFTER, RAMPS = "_after", ("average_ramp",)
"""How keys end that say after how many epochs something begins; and keys in steps."""
SIZED = ".PreActResNet18"
"""The network whose size, and with it the images', is chosen."""

Callbacks = Callable[..., Sequence[Any]]


def typed_keys(overrides: Sequence[str]) -> frozenset[str]:
    """The keys of what was typed, `key=value`."""
    return frozenset(text.lstrip("+~").partition("=")[0] for text in overrides)


def check_choice(cfg: DictConfig) -> None:
    """Raise `InputError` where `recipe` or `minutes` is none, or what they change no number."""
    recipe, minutes = cfg.get("recipe", "paper"), cfg.get("minutes")
    if recipe not in RECIPES:
        raise InputError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe}")
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    if minutes is not None and not (is_number and 0 < minutes < float("inf")):
        raise InputError(f"minutes must be null or a number over 0, got {minutes}")
    if chooses(cfg):
        epochs = {str(key): n for key, n in cfg.method.items() if str(key).endswith("_epochs")}
        check_counts(0, **epochs)


def chooses(cfg: DictConfig) -> bool:
    """Whether anything may be chosen."""
    by_size = cfg.get("recipe", "paper") != "paper" or cfg.get("minutes") is not None
    return by_size or begins_trained(cfg.network)


def is_small(cfg: DictConfig, images: int) -> bool:
    """Whether so many images want another recipe than the configured one, or are to have it."""
    made_for = cfg.dataset.recipe.get("images")
    few = made_for is None or 2 * images < made_for
    return bool(cfg.recipe == "small" or (cfg.recipe == "auto" and few))


def with_choice(cfg: DictConfig, chosen: Sequence[str], typed: Collection[str]) -> DictConfig:
    """A copy of a configuration in which the same is chosen as in a run, but for what is typed.

    Args:
        cfg: the configuration.
        chosen: that of the run's.
        typed: keys.
    """
    copy = cfg.copy()
    kept = [text for text in chosen if not _is_typed(text.partition("=")[0], typed)]
    for text in kept:
        key, _, value = text.partition("=")
        OmegaConf.update(copy, key, yaml.safe_load(value), force_add=True)
    copy.chosen = [*(cfg.get("chosen") or ()), *kept]
    return copy


def _is_typed(key: str, typed: Collection[str]) -> bool:
    return key in typed or ALSO.get(key) in typed


class Choice:
    """What is chosen for a run, written into its configuration at once.

    Args:
        cfg: the configuration, changed in place.
        typed: keys that the user typed, which stay; so does what has been chosen before.

    Attributes:
        chosen: it, as it would be typed.
    """

    def __init__(self, cfg: DictConfig, typed: Collection[str]) -> None:
        self.cfg = cfg
        self.chosen: list[str] = list(cfg.get("chosen") or ())
        self.typed = typed_keys(self.chosen).union(typed)
        self._is_sized = str(cfg.network._target_).endswith(SIZED)

    def put(self, key: str, value: Any) -> None:
        """Set a key, unless it, or what follows it, was typed."""
        if not _is_typed(key, self.typed):
            OmegaConf.update(self.cfg, key, value, force_add=True)
            self.chosen.append(f"{key}={value}".replace(" ", ""))
            self.cfg.chosen = self.chosen

    def before_loading(self) -> list[str]:
        """Choose the size of a folder's images, and the normalisation that a network knows.

        Returns:
            Lines on it.
        """
        source, key = self.cfg.dataset.source, "dataset.source.image_size"
        is_folder = str(source._target_).endswith(".ImageFolder")
        if begins_trained(self.cfg.network):
            return self._as_trained(key if is_folder else None)
        if self.cfg.recipe != "paper" and self._is_sized and is_folder and key not in self.typed:
            with telling_from_where(self.cfg):
                size = sizes.image_size(instantiated("dataset.source", plain(source)).side())
            self._put_side(key, size)
        return []

    def _put_side(self, key: str, side: int) -> None:
        """Height and width of a folder's images, and the padding that goes with what they are."""
        self.put(key, side)
        self.put("dataset.views.padding", sizes.padding(OmegaConf.select(self.cfg, key)))

    def _as_trained(self, size_key: str | None) -> list[str]:
        """Normalise images as those that the network was trained on; a folder's get their size."""
        name, before = self.cfg.network.name, len(self.chosen)
        images = images_of(name, len(self.cfg.dataset.mean))
        if images is None:
            return []
        self.put("dataset.mean", images.mean)
        self.put("dataset.std", images.std)
        if size_key is not None:
            self._put_side(size_key, images.side)
        if not (own := self.chosen[before:]):
            return []
        # Otherwise it is said with all the rest that is chosen.
        about = f": {' '.join(own)}" if self.cfg.recipe == "paper" else ""
        return [f"network  images as {name} was trained on{about}"]

    def after_loading(
        self, data: NoisyDataModule, compute: Compute, callbacks: Callbacks
    ) -> list[str]:
        """Choose the rest.

        Args:
            data: the data module, set up; it is given its batch size.
            compute: what to compute with.
            callbacks: gives those of a run, for a configuration, data and a folder.

        Returns:
            Lines on what was chosen.

        Raises:
            InputError: there are several devices to measure the time on.
        """
        cfg, images = self.cfg, len(data.labels.given)
        minutes = None if cfg.trainer.fast_dev_run else cfg.minutes
        if minutes is not None and compute.world_size > 1:
            raise InputError(
                f"minutes={minutes} needs trainer.devices=1: devices that measure each for itself "
                f"would choose differently; set {EPOCHS}"
            )
        small, made_for = is_small(cfg, images), cfg.dataset.recipe.get("images")
        if small:
            self.put(f"{RECIPE}.batch_size", sizes.batch_size(images))
        check_counts(1, False, "data", batch_size=cfg.data.batch_size)
        check_batch_size(cfg.data.batch_size, images, compute.world_size)
        data.batch_size = cfg.data.batch_size
        if not small and minutes is None:
            about = f": it was made for {made_for:,} images" if made_for else ""
            return [] if cfg.recipe == "paper" else [f"recipe   the paper's{about}"]
        steps = sizes.steps(images, data.batch_size)
        typed, configured = self._typed_epochs(), int(cfg.dataset.recipe.max_epochs)
        # Where a single one is configured there is nothing that more of them would train.
        more = small and configured > 1
        wanted = typed or (sizes.epochs(images, data.batch_size) if more else configured)
        choices = self._networks(data) if small and self._is_sized else [{}]
        epochs, lines = wanted, []
        if minutes is None:
            chosen = sizes.network_for(images, data.num_classes, len(choices))
        else:
            share = self._warm_up(self.cfg.method.get("warmup_epochs", 0), steps, wanted, small)

            def pace(place: int) -> float:
                trial = self._with(choices[place])
                return seconds_of_an_epoch(trial, data, compute, callbacks, steps, share / wanted)

            choices = [each for k, each in enumerate(choices) if each not in choices[:k]]
            chosen, fitting, seconds = sizes.fitted(60 * minutes, wanted, len(choices), pace)
            epochs = typed or fitting
            lines = [describe_time(seconds, epochs, wanted, 60 * minutes)]
        for key, value in choices[chosen].items():
            self.put(key, value)
        self._put_epochs(epochs, configured, steps, small)
        kind = "small" if small else "the paper's" + ", shortened" * (epochs < configured)
        about = f": {' '.join(self.chosen)}" if self.chosen else ""
        return [f"recipe   {kind}, for {images:,} images{about}", *lines]

    def _typed_epochs(self) -> int | None:
        """How many epochs the user wants, where that was typed."""
        for key in ("trainer.max_epochs", EPOCHS):
            if key in self.typed:
                return int(OmegaConf.select(self.cfg, key))
        return None

    def _networks(self, data: NoisyDataModule) -> list[dict[str, int]]:
        """The networks to choose from, as settings, with what was typed in its place."""
        found = []
        for network in sizes.networks(data.splits["train"].images.shape[-1]):
            settings = {f"network.{key}": value for key, value in network._asdict().items()}
            typed = {k: OmegaConf.select(self.cfg, k) for k in settings if k in self.typed}
            found.append(settings | typed)
        return found

    def _with(self, settings: dict[str, int]) -> DictConfig:
        copy = self.cfg.copy()
        for key, value in settings.items():
            OmegaConf.update(copy, key, value)
        return copy

    @staticmethod
    def _warm_up(configured: int, steps: int, epochs: int, small: bool) -> int:
        """Epochs of a method's beginning: a paper's are no more than shortened."""
        if small:
            return sizes.warm_up(configured, steps, epochs)
        return min(configured, epochs // 2)

    def _put_epochs(self, epochs: int, configured: int, steps: int, small: bool) -> None:
        """Choose so many epochs, and what goes by their number."""
        recipe, method = self.cfg.dataset.recipe, self.cfg.method
        if not small and epochs == configured:
            return
        cosine = recipe.get("cosine_epochs")
        # A method that begins its schedule anew goes through it so often.
        length = max(epochs // getattr(get_class(method._target_), "schedules", 1), 1)
        shape = sizes.milestones(length) if small else scaled(recipe.milestones, configured, epochs)
        self.put(EPOCHS, epochs)
        self.put(f"{RECIPE}.milestones", shape)
        if cosine is not None:
            self.put(f"{RECIPE}.cosine_epochs", scaled([cosine], configured, epochs)[0])
        if (restarts := self.cfg.scheduler.get("T_0")) and epochs % restarts:
            self.put("scheduler.T_0", sizes.cycle(epochs, restarts))
        for key in (key for key in BEGINNINGS if key in method):
            self.put(f"method.{key}", self._warm_up(method[key], steps, epochs, small))
        self._put_stages(epochs)
        self._put_rest(epochs, configured, steps)

    def _put_stages(self, epochs: int) -> None:
        """Shorten the stages of a method that has such, where they would not all be reached."""
        method = self.cfg.method
        stages = [key for key in method if key.endswith("_epochs") and key not in BEGINNINGS]
        if stages and WARM_UP in method:
            stages.insert(0, WARM_UP)  # they follow it
        total = sum(method[key] for key in stages)
        if total <= epochs:
            return
        lengths = sizes.shortened([method[key] for key in stages], epochs)
        for key, length in zip(stages, lengths, strict=True):
            self.put(f"method.{key}", length)
        for key in (key for key in method if key.endswith("_milestones")):
            self.put(f"method.{key}", scaled(method[key], total, epochs))

    def _put_rest(self, epochs: int, configured: int, steps: int) -> None:
        """Bring what begins later into the first half, and ramps in steps to their end by then."""
        method = self.cfg.method
        for key in (key for key in method if str(key).endswith(AFTER) and method[key] > 0):
            (place,) = scaled([method[key]], max(configured, epochs), epochs)
            self.put(f"method.{key}", min(place, max(epochs // 2, 1)))
        for key in (key for key in RAMPS if key in method):
            self.put(f"method.{key}", min(method[key], epochs * steps // 2))


def describe_time(seconds: float, epochs: int, wanted: int, available: float) -> str:
    """How long a run will take, as measured; and that it is cut short, or does not fit."""
    whole, more = duration(seconds * epochs), ""
    if seconds * epochs > 1.05 * available:
        more = f"; that is over the {duration(available)} of minutes="
    elif epochs < wanted:
        more = f"; the recipe has {wanted:,} epochs, {duration(seconds * wanted)}"
    return f"estimate about {whole} ({duration(seconds)} an epoch × {epochs:,}){more}"
