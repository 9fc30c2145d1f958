"""From a composed configuration to objects."""

from functools import partial

from omegaconf import DictConfig
from torch import Tensor

from pmnar.augment import strong_view, weak_view
from pmnar.data import NoisyDataModule
from pmnar.errors import InputError
from pmnar.methods import NoisyLabelMethod, Setting
from pmnar.noise import Noise
from pmnar.runtime.compute import Compute
from pmnar.tasks.command import plain
from pmnar.tasks.instances import in_a_line, instantiated
from pmnar.tasks.mistakes import first_line
from pmnar.tasks.network import build_network, check_network, without_pretrained


def build_noise(cfg: DictConfig) -> tuple[Noise, int]:
    """The noise and its seed."""
    settings = dict(plain(cfg.noise))
    seed = settings.pop("seed", cfg.seed)
    return instantiated("noise", settings), seed


def build_datamodule(cfg: DictConfig) -> NoisyDataModule:
    """The data module; nothing is read yet."""
    noise, noise_seed = build_noise(cfg)
    dataset, views = cfg.dataset, cfg.dataset.views
    with in_a_line("data or dataset.views"):
        return NoisyDataModule(
            source=instantiated("dataset.source", plain(dataset.source)),
            noise=noise,
            noise_seed=noise_seed,
            seed=cfg.seed,
            views={
                "weak": weak_view(views.padding, views.flip),
                "strong": strong_view(
                    views.padding, views.flip, views.strong, views.cutout, _hole(dataset)
                ),
            },
            mean=plain(dataset.mean),
            std=plain(dataset.std),
            train_subset=dataset.train_subset,
            subset_seed=dataset.subset_seed,
            **plain(cfg.data),
        )


def _hole(dataset: DictConfig) -> list[float] | None:
    """The colour of Cutout's hole; None: black, as in runs from before there was a choice."""
    fill = dataset.views.get("cutout_fill", "black")
    if fill not in ("black", "mean"):
        raise InputError(f"dataset.views.cutout_fill must be black or mean, got {fill}")
    return plain(dataset.mean) if fill == "mean" else None


def check_normalisation(cfg: DictConfig) -> None:
    """Raise `InputError` where `dataset.normalisation` is none of those that the data set knows."""
    known, name = cfg.dataset.get("constants"), cfg.dataset.get("normalisation")
    if known is not None and name not in known:
        choices = ", ".join(map(str, known))
        raise InputError(f"dataset.normalisation must be one of {choices}, got {name}")


def build_method(
    cfg: DictConfig, data: NoisyDataModule, compute: Compute, *, weights_follow: bool = False
) -> NoisyLabelMethod:
    """The method, with networks for the data module's images and classes (set up before).

    Args:
        cfg: the configuration.
        data: the data module.
        compute: what to compute with.
        weights_follow: a checkpoint is about to be loaded, so that nothing is downloaded in vain.
    """
    images = data.splits["train"].images
    with without_pretrained(weights_follow):
        network = build_network(plain(cfg.network), data.num_classes, images.shape[1])
        check_network(network, images[:2], data.num_classes)
    method = make_method(
        cfg,
        labels=data.splits["train"].labels,
        class_names=tuple(data.class_names),
        test_names=tuple(data.test_names),
        channels=images.shape[1],
        compute=compute,
        weights_follow=weights_follow,
    )
    check_optimizer(method)
    method.attach(data)
    data.check_views()
    return method


def make_method(
    cfg: DictConfig,
    *,
    labels: Tensor,
    class_names: tuple[str, ...],
    test_names: tuple[str, ...],
    channels: int,
    compute: Compute,
    weights_follow: bool = False,
) -> NoisyLabelMethod:
    """The method with its networks, of no data set yet.

    Args:
        cfg: the configuration.
        labels: the given labels of the training set, int64 `[N]`.
        class_names: K names.
        test_names: the test splits.
        channels: C of the images.
        compute: what to compute with.
        weights_follow: a checkpoint is about to be loaded, so that nothing is downloaded in vain.

    Raises:
        InputError: a setting is out of its range.
    """
    settings = dict(plain(cfg.method))
    settings.pop("name")
    network = partial(
        build_network, plain(cfg.network), num_classes=len(class_names), in_channels=channels
    )
    setting = Setting(
        network=network,
        optimizer=instantiated("optimizer", plain(cfg.optimizer)),
        scheduler=instantiated("scheduler", plain(cfg.scheduler)),
        labels=labels,
        class_names=class_names,
        test_names=test_names,
        seed=cfg.seed,
        gradient_clip=settings.pop("gradient_clip", None),
        compute=compute,
    )
    with without_pretrained(weights_follow):
        method = instantiated("method", settings, setting)
    if not isinstance(method, NoisyLabelMethod):
        raise InputError(f"method._target_={cfg.method._target_} makes no NoisyLabelMethod")
    return method


def check_optimizer(method: NoisyLabelMethod) -> None:
    """Raise `InputError` unless the optimiser and its schedule accept their settings."""
    try:
        method.configure_optimizers()
    except (TypeError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"optimizer or scheduler: {reason}") from None
