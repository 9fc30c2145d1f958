"""Networks for a while in eval mode, or with BatchNorm's running statistics as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def untracked(networks: nn.Module) -> Iterator[None]:
    """While it lasts, forwards in training leave the running statistics as they are.

    They are normalised by their batch's own statistics all the same.
    """
    layers = [m for m in networks.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


@contextmanager
def evaluating(networks: nn.Module) -> Iterator[None]:
    """While it lasts, all is in eval mode; then each layer in the mode that it was in before."""
    modes = [(module, module.training) for module in networks.modules()]
    networks.eval()
    try:
        yield
    finally:
        for module, mode in modes:  # one by one: a layer may be frozen on purpose
            module.training = mode
