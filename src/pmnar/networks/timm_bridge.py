"""Any model of the timm library, where it is installed."""

import difflib

from torch import nn

from pmnar.errors import InputError


def timm_network(
    num_classes: int, in_channels: int = 3, name: str = "resnet18", pretrained: bool = False
) -> nn.Module:
    """The timm model `name` with K outputs.

    Raises:
        InputError: timm is not installed, or has no model of that name.
    """
    try:
        import timm
    except ImportError:
        raise InputError("network=timm needs timm: pip install 'pmnar[timm]'") from None
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3)) or "resnet18"
        raise InputError(f"network.name: timm has no model {name}; near it: {near}")
    model: nn.Module = timm.create_model(
        name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels
    )
    return model
