"""Networks for features that were computed elsewhere, `[B, D, 1, 1]`."""

from torch import Tensor, nn


class Linear(nn.Module):
    """A linear classifier: its features are what it is given.

    Args:
        num_classes: K.
        in_channels: D.
    """

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.features, self.feature_size = nn.Flatten(), in_channels
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, D, 1, 1]` → logits `[B, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits


class MLP(nn.Module):
    """Hidden layers with BN and ReLU, and a linear layer.

    Args:
        num_classes: K.
        in_channels: D.
        width: units of each hidden layer.
        depth: hidden layers, at least 1.
        dropout: probability of dropping a hidden unit, in [0, 1).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        width: int = 512,
        depth: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}; network=linear has none")
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs in (in_channels, *[width] * (depth - 1)):
            layers += [
                nn.Linear(inputs, width, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
            ]
        self.features, self.feature_size = nn.Sequential(*layers), width
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, D, 1, 1]` → logits `[B, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits
