"""The CNN of nine convolutions that Co-teaching and its relatives use (Han et al., 2018)."""

from torch import Tensor, nn

from pmnar.errors import InputError
from pmnar.networks.features import GlobalMean

LEAST = 28
"""Pixels: two poolings and three convolutions without padding leave one of them."""


class CNN9(nn.Module):
    """Two stages of three padded 3×3 convolutions, pooled, and three convolutions without padding.

    Each is followed by BN and leaky ReLU (slope .01), each pooling by dropout of whole maps; the
    mean over pixels and a linear layer end it. 4.43 M parameters at 10 classes and width 128.

    Args:
        num_classes: K.
        in_channels: channels of the images.
        width: channels of the first stage: then twice, 4 times, twice and once as many.
        dropout: probability of dropping a map, in [0, 1).
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, width: int = 128, dropout: float = 0.25
    ) -> None:
        super().__init__()
        layers, inputs = list[nn.Module](), in_channels
        for outputs in (width, 2 * width):
            for _ in range(3):
                layers += _conv(inputs, outputs, padding=1)
                inputs = outputs
            layers += [nn.MaxPool2d(2), nn.Dropout2d(dropout)]
        for outputs in (4 * width, 2 * width, width):
            layers += _conv(inputs, outputs, padding=0)
            inputs = outputs
        self.layers = nn.Sequential(*layers, GlobalMean())
        self.feature_size = width
        self.head = nn.Linear(self.feature_size, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → features `[B, feature_size]`.

        Raises:
            InputError: H or W is under 28.
        """
        if min(x.shape[2:]) < LEAST:
            raise InputError(f"network=cnn9 takes images from {LEAST} pixels up")
        found: Tensor = self.layers(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → logits `[B, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _conv(inputs: int, outputs: int, padding: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=padding),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.01, inplace=True),
    ]
