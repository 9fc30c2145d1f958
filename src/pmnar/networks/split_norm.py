"""BatchNorm that treats the views in a batch apart."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pmnar.errors import InputError


class SplitBatchNorm2d(nn.BatchNorm2d):
    """In training, normalises each of `parts` equal parts of the batch by its own statistics.

    One forward of `[x; Aug(x)]` then equals a forward of x and one of Aug(x): the running
    statistics are updated part by part, in that order. Parameters and buffers are those of
    `nn.BatchNorm2d`, under the same names.
    """

    parts: int

    def forward(self, input: Tensor) -> Tensor:
        """`[B, C, H, W]`, B divisible by `parts` → the same shape."""
        if self.parts == 1 or not self.training:
            return super().forward(input)
        return torch.cat(
            [super(SplitBatchNorm2d, self).forward(x) for x in input.chunk(self.parts)]
        )


def split_batch_norm(network: nn.Module) -> None:
    """Turn every `nn.BatchNorm2d` of the network into a `SplitBatchNorm2d`, in place.

    Raises:
        InputError: the network normalises over the batch by another kind of layer.
    """
    for layer in network.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SplitBatchNorm2d
            layer.parts = 1  # type: ignore[assignment]
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and not hasattr(layer, "parts"):
            raise InputError(
                f"compute.fused_forward=true can split nn.BatchNorm2d alone, and the network has "
                f"{type(layer).__name__}; set compute.fused_forward=false"
            )


@contextmanager
def in_parts(network: nn.Module, parts: int) -> Iterator[None]:
    """While it lasts, batches of the network consist of so many parts."""
    layers = [layer for layer in network.modules() if isinstance(layer, SplitBatchNorm2d)]
    for layer in layers:
        layer.parts = parts
    try:
        yield
    finally:
        for layer in layers:
            layer.parts = 1
