"""A network in two parts: its features, and the head that makes logits of them."""

from typing import Any

from torch import Tensor, nn

from pmnar.errors import InputError


class GlobalMean(nn.Module):
    """The mean over all pixels: `[B, C, H, W]` → `[B, C]`."""

    def forward(self, x: Tensor) -> Tensor:
        """The channels' means."""
        return x.mean((2, 3))


def features_and_logits(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features `[B, F]` and logits `[B, K]` of images `[B, C, H, W]` in one forward.

    Of networks that have `features` and `head`, whose `forward` is the one after the other, and
    of timm's models.

    Raises:
        InputError: the network has neither.
    """
    known: Any = network
    if hasattr(network, "features") and hasattr(network, "head"):
        features = known.features(images)
        return features, known.head(features)
    if hasattr(network, "forward_head") and hasattr(network, "get_classifier"):
        features = known.forward_head(known.forward_features(images), pre_logits=True)
        return features, known.get_classifier()(features)
    raise InputError(
        f"network._target_: {type(network).__name__} has no features and head, which this method "
        "needs (see pmnar.networks.features)"
    )


def feature_size(network: nn.Module) -> int:
    """F, the number of features of a network as `features_and_logits` has it.

    Raises:
        InputError: the network does not tell.
    """
    for name in ("feature_size", "head_hidden_size", "num_features"):
        if isinstance(size := getattr(network, name, None), int):
            return size
    raise InputError(f"network._target_: {type(network).__name__} has no feature_size")
