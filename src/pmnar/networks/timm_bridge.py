"""Any model of the timm library, where it is installed."""

import difflib
from typing import Any, NamedTuple

from torch import nn

from pmnar.errors import InputError
from pmnar.networks import pretrained as beginnings


def timm_network(
    num_classes: int,
    in_channels: int = 3,
    name: str = "resnet18",
    pretrained: bool = False,
    weights: str | None = None,
    freeze: bool | int = False,
    **settings: Any,
) -> nn.Module:
    """The timm model `name` with K outputs.

    Args:
        num_classes: K.
        in_channels: C of the images `[B, C, H, W]`.
        name: as `timm.list_models` has it, with the tag of pretrained weights after a dot.
        pretrained: begin with weights that timm loads from where they are published.
        weights: a file to begin with in their place (see `load_weights`).
        freeze: how many stages stay as they are, the stem being the first; True: all but the
            classifier.
        settings: the model's own, such as `drop_rate`, `drop_path_rate`, or `img_size`, which
            models of a fixed image size need.

    Raises:
        InputError: timm is not installed, has no model of that name, or not with these settings,
            weights or stages.
    """
    try:
        import timm
    except ImportError:
        raise InputError(f"network.name={name} needs timm: pip install 'pmnar[timm]'") from None
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3)) or "resnet18"
        raise InputError(f"network.name: timm has no model {name}; near it: {near}")
    if pretrained and weights is not None:
        raise InputError(f"network.weights={weights} takes the place of network.pretrained=true")
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels, **settings
        )
    except Exception as error:  # each model has its own; the hub's client has many
        given = "".join(f" network.{key}={value}" for key, value in settings.items())
        given += " network.pretrained=true" if pretrained else ""
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"network.name={name}{given}: {reason}") from error
    if weights is not None:
        beginnings.load_weights(model, weights)
    if freeze is not False:
        beginnings.freeze(model, freeze)
    return model


class Images(NamedTuple):
    """The images that a model was trained on: mean and deviation of channels in [0, 1], pixels."""

    mean: list[float]
    std: list[float]
    side: int


def images_of(name: str, channels: int) -> Images | None:
    """What a model's published weights were trained on; None: timm does not tell, or is not there.

    Args:
        name: with the tag of its weights, if it is not the default one.
        channels: 1: gray images have the mean of the channels' figures.
    """
    try:
        import timm
    except ImportError:
        return None
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if known is None:
        return None
    mean, std = (list(map(float, each)) for each in (known.mean, known.std))
    if channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    return Images(mean, std, int(known.input_size[-1]))


def size_advice(network: nn.Module, side: int) -> str:
    """What to set for images of this side, where a network is a timm model of a fixed image size.

    Nothing for any other network.
    """
    settings = getattr(network, "default_cfg", None)
    fixed = isinstance(settings, dict) and settings.get("fixed_input_size")
    return f"; a model of fixed image size needs +network.img_size={side}" if fixed else ""
