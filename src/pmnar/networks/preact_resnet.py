"""PreAct ResNet-18 for small images (He et al., 2016), in both forms the noisy-label field uses."""

from torch import Tensor, nn
from torch.nn import functional as F

from pmnar.errors import InputError

SHORTCUTS = ("activated", "raw")


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice, and the shortcut.

    Args:
        inputs: channels.
        outputs: channels.
        stride: of the first convolution and the shortcut.
        raw: a shortcut that is the identity leaves from the block's input. Otherwise, as one that
            is a convolution does, from the activated tensor.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, raw: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
        self._from_input = raw and isinstance(self.shortcut, nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` → `[B, outputs, H / stride, W / stride]`."""
        activated = F.relu(self.norm1(x))
        out: Tensor = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        shortcut: Tensor = self.shortcut(x if self._from_input else activated)
        return out + shortcut


class PreActResNet18(nn.Module):
    """3×3 stem, four stages of two blocks, global average pooling, linear layer.

    Public code has two networks of this name, each of 11.17 M parameters at 10 classes. That of
    DivideMix, ELR+, UNICON, SOP and M-correction has BN and ReLU in its stem, and even a shortcut
    that is the identity leaves from the activated tensor: `activated`. In NCT's and Co-teaching+'s
    the stem is a convolution alone, and such a shortcut carries the block's input: `raw`. Global
    pooling (rather than theirs, 4×4) makes it fit any image size from 8 pixels up.

    Args:
        num_classes: K.
        in_channels: channels of the images, 1 or 3.
        width: channels of the first stage, doubled at each further one.
        stem_stride: 2 quarters the cost, for a quick run or large images.
        shortcut: `activated` or `raw`.

    Raises:
        InputError: the shortcut is neither.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        stem_stride: int = 1,
        shortcut: str = "activated",
    ) -> None:
        super().__init__()
        if shortcut not in SHORTCUTS:
            raise InputError(
                f"network.shortcut must be one of {', '.join(SHORTCUTS)}, got {shortcut}"
            )
        raw = shortcut == "raw"
        stem = conv3x3(in_channels, width, stem_stride)
        activation = [] if raw else [nn.BatchNorm2d(width), nn.ReLU()]
        self.stem = nn.Sequential(stem, *activation)
        channels = [width, width, 2 * width, 4 * width, 8 * width]
        blocks: list[nn.Module] = []
        for stage in range(4):
            stride = 1 if stage == 0 else 2
            blocks.append(PreActBlock(channels[stage], channels[stage + 1], stride, raw))
            blocks.append(PreActBlock(channels[stage + 1], channels[stage + 1], 1, raw))
        self.blocks = nn.Sequential(*blocks)
        self.feature_size = channels[-1]
        self.head = nn.Linear(self.feature_size, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → features `[B, feature_size]`."""
        pooled: Tensor = self.blocks(self.stem(x)).mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → logits `[B, K]`."""
        logits: Tensor = self.head(self.features(x))
        return logits
