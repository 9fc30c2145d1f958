"""Views of features that were computed elsewhere, once standardised: float32 `[B, D, 1, 1]`."""

import torch
from torch import Tensor

from pmnar.augment.base import Augmentation, Draws
from pmnar.augment.compose import Compose
from pmnar.errors import InputError


class Jitter:
    """Adds normal noise to every feature.

    Args:
        deviation: of the noise, in deviations of each feature where these are standardised.

    Raises:
        InputError: it is no number of at least 0.
    """

    def __init__(self, deviation: float) -> None:
        if isinstance(deviation, bool) or not 0 <= deviation < float("inf"):
            raise InputError(f"dataset.views.jitter must be at least 0, got {deviation}")
        self.deviation = deviation

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """`noise`, float32 `[size, D, 1, 1]`."""
        return {"noise": self.deviation * torch.randn((size, *shape), generator=generator)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The features with noise, `[B, D, 1, 1]`."""
        return images + draws["noise"].to(images.device, non_blocking=True)


class FeatureDropout:
    """Sets features to 0, their mean where they are standardised, and scales the rest up.

    Args:
        rate: probability of each feature to be dropped; what stays is divided by 1 − rate, as
            `nn.Dropout` does.

    Raises:
        InputError: it is not in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        if isinstance(rate, bool) or not 0 <= rate < 1:
            raise InputError(f"dataset.views.dropout must be in [0, 1), got {rate}")
        self.rate = rate

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """`kept`, bool `[size, D, 1, 1]`."""
        return {"kept": torch.rand((size, *shape), generator=generator) >= self.rate}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The features that are kept, `[B, D, 1, 1]`."""
        kept = draws["kept"].to(images.device, non_blocking=True)
        return images * kept / (1 - self.rate)


def feature_views(jitter: float, dropout: float) -> dict[str, Augmentation]:
    """The weak view, jitter alone, and the strong one: dropout after a jitter of its own.

    Where both are 0, features are what they are.

    Raises:
        InputError: a number is out of its range.
    """
    noise: list[Augmentation] = [Jitter(jitter)]
    drop: list[Augmentation] = [FeatureDropout(dropout)]
    weak = noise if jitter else []
    return {"weak": Compose(weak), "strong": Compose([*weak, *(drop if dropout else [])])}
