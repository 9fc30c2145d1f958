"""A network in two parts: its features, and the head that makes logits of them."""

from typing import Any

from torch import Tensor, nn

from pmnar.errors import InputError


class GlobalMean(nn.Module):
    """The mean over all pixels: `[B, C, H, W]` → `[B, C]`."""

    def forward(self, x: Tensor) -> Tensor:
        """The channels' means."""
        return x.mean((2, 3))


def features_of(network: nn.Module, images: Tensor) -> Tensor:
    """Features `[B, F]` of images `[B, C, H, W]` (see `features_and_logits`)."""
    known: Any = network
    features: Tensor
    if _is_of_timm(network):
        features = known.forward_head(known.forward_features(images), pre_logits=True)
    else:
        features = known.features(images)
    return features


def head_of(network: nn.Module) -> nn.Module:
    """What turns features `[B, F]` into logits `[B, K]` (see `features_and_logits`)."""
    known: Any = network
    head: nn.Module = known.get_classifier() if _is_of_timm(network) else known.head
    return head


def features_and_logits(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features `[B, F]` and logits `[B, K]` of images `[B, C, H, W]` in one forward.

    Of networks that have `features` and `head`, whose `forward` is the one after the other, and
    of timm's models.

    Raises:
        InputError: the network has neither.
    """
    features = features_of(network, images)
    return features, head_of(network)(features)


def _is_of_timm(network: nn.Module) -> bool:
    """Whether it is one of timm's models, some of which have `features` of another kind too.

    Raises:
        InputError: it is not, and has no `features` and `head` either.
    """
    if hasattr(network, "forward_head") and hasattr(network, "get_classifier"):
        return True
    if hasattr(network, "features") and hasattr(network, "head"):
        return False
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
