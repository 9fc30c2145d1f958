"""A network whose features stay as they are, and a head upon them."""

import torch
from torch import Tensor, nn

from pmnar.networks.features import feature_size, features_of


class FrozenNetwork(nn.Module):
    """A network of which nothing but a new head is trained.

    Its features have no gradient, and it stays in eval mode: BatchNorm normalises by the running
    statistics that it came with, and nothing is dropped.

    Args:
        network: one that tells its features (see `features_and_logits`); its own head is not used.
        head: features `[B, F]` → logits `[B, K]`.

    Raises:
        InputError: the network does not tell its features.
    """

    def __init__(self, network: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.network, self.feature_size = network.requires_grad_(False), feature_size(network)
        self.head = head
        self.train()

    def train(self, mode: bool = True) -> "FrozenNetwork":
        """Put the head into training, or out of it."""
        super().train(mode)
        self.network.eval()
        return self

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → the network's features `[B, feature_size]`."""
        return features_of(self.network, x)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → logits `[B, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits
