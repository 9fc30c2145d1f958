"""The complementary-label store: which classes each sample is still trained not to be."""

import torch
from torch import Tensor, nn


class ComplementaryLabels(nn.Module):
    """The store S of PMNAR, N×K booleans packed eight to a byte: `ceil(K / 8)` bytes a sample.

    It begins with every class but the given label and only ever shrinks (PMNAR, Algorithm 1). It
    is a buffer, so it travels with the module's checkpoint and device.

    Args:
        labels: the given labels, int64 `[N]`.
        num_classes: K.
    """

    bits: Tensor

    def __init__(self, labels: Tensor, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        width = (num_classes + 7) // 8
        every_class = torch.full((width,), 255, dtype=torch.uint8)
        if num_classes % 8:
            every_class[-1] = (1 << num_classes % 8) - 1
        self.register_buffer("bits", every_class.repeat(len(labels), 1))
        self.discard(torch.arange(len(labels)), labels)

    @torch.no_grad()
    def discard(self, index: Tensor, classes: Tensor) -> None:
        """Take one class out of each named sample's set; a class already out changes nothing.

        Args:
            index: samples, int64 `[M]`, each at most once.
            classes: one class for each, int64 `[M]`.
        """
        byte = classes // 8
        keep = ~(torch.ones_like(classes) << classes % 8).to(torch.uint8)
        self.bits[index, byte] = self.bits[index, byte] & keep

    def mask(self, index: Tensor) -> Tensor:
        """The sets of the samples `index` `[B]` as bool `[B, K]`."""
        shifts = torch.arange(8, dtype=torch.uint8, device=self.bits.device)
        bits = (self.bits[index].unsqueeze(-1) >> shifts) & 1
        return bits.flatten(1)[:, : self.num_classes].bool()

    def mean_size(self) -> float:
        """How many complementary labels a sample has left on average, in [0, K − 1]."""
        shifts = torch.arange(8, dtype=torch.uint8, device=self.bits.device)
        ones_in_byte = torch.zeros(256, dtype=torch.int64, device=self.bits.device)
        every_byte = torch.arange(256, dtype=torch.uint8, device=self.bits.device)
        ones_in_byte += ((every_byte.unsqueeze(-1) >> shifts) & 1).sum(-1)
        counts = torch.bincount(self.bits.flatten(), minlength=256)
        return float((counts * ones_in_byte).sum()) / max(len(self.bits), 1)
