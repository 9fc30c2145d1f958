"""Products that must not be halved."""

import torch
from torch import Tensor


def product(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right`, at least float32, also where autocast would halve it."""
    kind = torch.promote_types(left.dtype, torch.float32)
    device = left.device.type
    halves = torch.amp.is_autocast_available(device)  # not where nothing is computed (meta)
    with torch.autocast(device if halves else "cpu", enabled=False):
        return left.to(kind) @ right.to(kind)
