"""BatchNorm that treats the views in a batch apart."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pmnar.errors import InputError


class SplitBatchNorm(_BatchNorm):
    """In training, normalises each of `parts` equal parts of the batch by its own statistics.

    One forward of `[x; Aug(x)]` then equals a forward of x and one of Aug(x): the running
    statistics are updated part by part, in that order. Parameters and buffers are those of
    the layer that it was, under the same names.
    """

    parts: int

    def forward(self, input: Tensor) -> Tensor:
        """`[B, ...]`, B divisible by `parts` → the same shape."""
        if self.parts == 1 or not self.training:
            return super().forward(input)
        return torch.cat([super(SplitBatchNorm, self).forward(x) for x in input.chunk(self.parts)])


class SplitBatchNorm1d(SplitBatchNorm, nn.BatchNorm1d):
    """Of features."""


class SplitBatchNorm2d(SplitBatchNorm, nn.BatchNorm2d):
    """Of maps of features."""


SPLIT: dict[type[nn.Module], type[SplitBatchNorm]] = {
    nn.BatchNorm1d: SplitBatchNorm1d,
    nn.BatchNorm2d: SplitBatchNorm2d,
}


def split_batch_norm(network: nn.Module) -> None:
    """Turn every `nn.BatchNorm1d` and `nn.BatchNorm2d` of the network into its split, in place.

    Raises:
        InputError: the network normalises over the batch by another kind of layer.
    """
    for layer in network.modules():
        if type(layer) in SPLIT:
            layer.__class__ = SPLIT[type(layer)]
            layer.parts = 1  # type: ignore[assignment]
        elif isinstance(layer, _BatchNorm) and not isinstance(layer, SplitBatchNorm):
            raise InputError(
                "compute.fused_forward=true can split nn.BatchNorm1d and nn.BatchNorm2d alone, and "
                f"the network has {type(layer).__name__}; set compute.fused_forward=false"
            )


@contextmanager
def in_parts(network: nn.Module, parts: int) -> Iterator[None]:
    """While it lasts, batches of the network consist of so many parts."""
    layers = [layer for layer in network.modules() if isinstance(layer, SplitBatchNorm)]
    for layer in layers:
        layer.parts = parts
    try:
        yield
    finally:
        for layer in layers:
            layer.parts = 1
