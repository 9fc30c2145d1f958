"""A network with a projection of its features beside the head, for contrastive losses."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from pmnar.networks.features import feature_size, features_of, head_of


class ProjectedNetwork(nn.Module):
    """A network, and a linear layer and BatchNorm from its features to points on a sphere.

    The projection is in two steps, so that the second may see the features of the whole batch.

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
        self.norm = nn.BatchNorm1d(size, dtype=kind)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → logits `[B, K]`, of which the projection is no part."""
        logits: Tensor = self.network(x)
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → the network's features `[B, feature_size]`."""
        return features_of(self.network, x)

    def head(self, features: Tensor) -> Tensor:
        """Features `[B, feature_size]` → logits `[B, K]`."""
        return head_of(self.network, features)

    def projected(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → projections `[B, P]`, as yet of any length."""
        rows: Tensor = self.projection(self.features(x))
        return rows

    def on_sphere(self, rows: Tensor) -> Tensor:
        """A batch's projections `[B, P]`, normalised by the batch, then each to length 1."""
        return F.normalize(self.norm(rows), dim=-1)

    def idle(self) -> Tensor:
        """0, with a gradient of 0 for the projection: for a step that makes no use of it."""
        parameters = [*self.projection.parameters(), *self.norm.parameters()]
        return sum((0 * each.sum() for each in parameters), start=parameters[0].new_zeros(()))


@dataclass(frozen=True)
class Projected:
    """Puts a projection of a size beside a network's head: for `Setting.with_network`."""

    size: int

    def __call__(self, network: nn.Module) -> nn.Module:
        """The network with the projection."""
        return ProjectedNetwork(network, self.size)
