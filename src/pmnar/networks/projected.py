"""A network with a projection of its features beside the head, for contrastive losses."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmnar.networks.features import feature_size, features_and_logits


class ProjectedNetwork(nn.Module):
    """A network, and a linear layer from its features to points on a sphere.

    Args:
        network: one that tells its features (see `features_and_logits`).
        size: P, of the projection.

    Raises:
        InputError: the network does not tell its features.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.feature_size = network, feature_size(network)
        kind = next(network.parameters()).dtype
        self.projection = nn.Linear(self.feature_size, size, dtype=kind)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → logits `[B, K]`, of which the projection is no part."""
        logits: Tensor = self.network(x)
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → the network's features `[B, feature_size]`."""
        return features_and_logits(self.network, x)[0]

    @property
    def head(self) -> nn.Module:
        """The network's: features `[B, feature_size]` → logits `[B, K]`."""
        classifier = getattr(self.network, "get_classifier", None)
        return classifier() if classifier else self.network.head  # type: ignore[return-value]

    def project(self, features: Tensor) -> Tensor:
        """Features `[B, feature_size]` → projections of length 1, `[B, P]`."""
        return F.normalize(self.projection(features), dim=-1)

    def idle(self) -> Tensor:
        """0, with a gradient of 0 for the projection: for a step that makes no use of it."""
        return torch.stack([0 * each.sum() for each in self.projection.parameters()]).sum()


@dataclass(frozen=True)
class Projected:
    """Puts a projection of a size beside a network's head: for `Setting.with_network`."""

    size: int

    def __call__(self, network: nn.Module) -> nn.Module:
        """The network with the projection."""
        return ProjectedNetwork(network, self.size)
