"""A projection of a network's features, beside the head: what contrastive losses compare."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmnar.networks.features import feature_size, features_of, head_of


class ProjectedNetwork(nn.Module):
    """A network, and a linear layer, with BatchNorm or without, from its features to a sphere.

    The projection is in two steps, so that the second may see the features of the whole batch.

    Args:
        network: one that tells its features (see `features_and_logits`).
        size: P, the projection's.
        norm: whether BatchNorm follows the layer.

    Raises:
        InputError: the network does not tell its features.
    """

    def __init__(self, network: nn.Module, size: int, norm: bool = False) -> None:
        super().__init__()
        self.network, self.feature_size = network, feature_size(network)
        kind = next(network.parameters()).dtype
        self.projection: nn.Module = nn.Linear(self.feature_size, size, dtype=kind)
        self.norm = nn.BatchNorm1d(size, dtype=kind) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → logits `[B, K]`, of which the projection is no part."""
        logits: Tensor = self.network(x)
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → the network's features `[B, feature_size]`."""
        return features_of(self.network, x)

    @property
    def head(self) -> nn.Module:
        """The network's: features `[B, feature_size]` → logits `[B, K]`."""
        return head_of(self.network)

    def projected(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → projections `[B, P]`, as yet of any length."""
        rows: Tensor = self.projection(self.features(x))
        return rows

    def on_sphere(self, rows: Tensor) -> Tensor:
        """A batch's projections `[B, P]`, normalised by the batch if at all, then to length 1."""
        return F.normalize(self.norm(rows), dim=-1)

    def project(self, features: Tensor) -> Tensor:
        """Features `[B, feature_size]` → projections of length 1, `[B, P]`."""
        return self.on_sphere(self.projection(features))

    def idle(self) -> Tensor:
        """0, with a gradient of 0 for the projection: for a step that makes no use of it."""
        parameters = [*self.projection.parameters(), *self.norm.parameters()]
        return torch.stack([0 * each.sum() for each in parameters]).sum()


@dataclass(frozen=True)
class Projected:
    """Puts a projection of a size beside a network's head: for `Setting.with_network`."""

    size: int
    norm: bool = False

    def __call__(self, network: nn.Module) -> nn.Module:
        """The network with the projection."""
        return ProjectedNetwork(network, self.size, self.norm)
