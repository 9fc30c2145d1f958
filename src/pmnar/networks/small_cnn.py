"""A small CNN for gray images of 8 to 28 pixels."""

from torch import Tensor, nn

from pmnar.networks.features import GlobalMean


class SmallCNN(nn.Module):
    """Three stages of two 3×3 convolutions with BN and ReLU, pooled in between, and a linear layer.

    Args:
        num_classes: K.
        in_channels: channels of the images.
        width: channels of the first stage, doubled at each further one.
        dropout: probability of dropping a feature before the linear layer, in [0, 1).
    """

    def __init__(
        self, num_classes: int, in_channels: int = 1, width: int = 16, dropout: float = 0.0
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for stage in range(3):
            inputs = in_channels if stage == 0 else width * 2 ** (stage - 1)
            outputs = width * 2**stage
            stages += [*_conv(inputs, outputs), *_conv(outputs, outputs)]
            if stage < 2:
                stages.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*stages, GlobalMean(), nn.Dropout(dropout))
        self.feature_size = 4 * width
        self.head = nn.Linear(self.feature_size, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]`, H and W at least 4 → logits `[B, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
