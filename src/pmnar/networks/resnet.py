"""ResNet-34 for small images (He et al., CVPR 2016): a 3×3 stem that keeps the size."""

from torch import Tensor, nn

from pmnar.networks.preact_resnet import conv3x3

BLOCKS = (3, 4, 6, 3)
"""Of each stage."""


class BasicBlock(nn.Module):
    """Conv-BN-ReLU and conv-BN, then the sum with the shortcut, then ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *(conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
            *(conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` → `[B, outputs, H / stride, W / stride]`."""
        total: Tensor = self.residual(x) + self.shortcut(x)
        return total.relu_()


class ResNet34(nn.Module):
    """3×3 stem with BN and ReLU, no pooling behind it, four stages of 3, 4, 6 and 3 blocks.

    The network of ELR, NLNL, JNPL and truncated GCE; 21.28 M parameters at 10 classes. Global
    pooling fits any image size from 8 pixels up, and is theirs, 4×4, at 32.

    Args:
        num_classes: K.
        in_channels: channels of the images, 1 or 3.
        width: channels of the first stage, doubled at each further one.
        stem_stride: 2 quarters the cost, for a quick run or large images.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, width: int = 64, stem_stride: int = 1
    ) -> None:
        super().__init__()
        stem = conv3x3(in_channels, width, stem_stride)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        blocks: list[nn.Module] = []
        inputs = width
        for stage, number in enumerate(BLOCKS):
            outputs = width * 2**stage
            for at in range(number):
                blocks.append(BasicBlock(inputs, outputs, 2 if stage > 0 and at == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.feature_size = inputs
        self.head = nn.Linear(self.feature_size, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → features `[B, feature_size]`."""
        pooled: Tensor = self.blocks(self.stem(x)).mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → logits `[B, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits
