"""One or two networks, trained side by side."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from pmnar.networks.split_norm import in_parts, split_batch_norm

T = TypeVar("T")
Logits = dict[str, tuple[Tensor, ...]]
"""For each network's name its logits `[B, K]` of every view."""


class Networks(nn.ModuleDict):
    """The networks of a method by name, all of one architecture.

    Args:
        networks: by name; one or two.
        fused_forward: one forward of all views together instead of one a view, with BatchNorm
            split per view; equal but for rounding, larger kernels, fewer of them.

    Attributes:
        channels_last: whether images are laid out in memory pixel by pixel, which CUDA's
            convolutions in 16 bits want.
        two_threads: whether two networks may take a thread each: on a CPU, where each thread has
            a core of its own.
    """

    def __init__(self, networks: Mapping[str, nn.Module], fused_forward: bool = False) -> None:
        super().__init__(networks)
        self.fused_forward = fused_forward
        self.channels_last = self.two_threads = False
        self.check_split()

    def check_split(self) -> None:
        """Split the networks' BatchNorm, where there is a fused forward.

        Raises:
            InputError: there is BatchNorm of another kind (SyncBatchNorm, for one).
        """
        if self.fused_forward:
            for network in self.values():
                split_batch_norm(network)

    def lay_out(self, channels_last: bool) -> None:
        """Lay out the weights, and from now on the images."""
        self.channels_last = channels_last
        self.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    def logits(self, views: tuple[Tensor, ...], in_threads: bool = False) -> Logits:
        """Every network's logits of every view: one forward for each, none twice."""
        views = tuple(map(self._laid_out, views))
        if not self.fused_forward or len(views) == 1:
            return self.each(lambda name: tuple(map(self[name], views)), in_threads)
        together = torch.cat(views)
        return self.each(lambda name: self._fused(name, together, len(views)), in_threads)

    def _fused(self, name: str, views: Tensor, parts: int) -> tuple[Tensor, ...]:
        with in_parts(self[name], parts):
            return tuple(self[name](views).chunk(parts))

    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        """Class probabilities of each network by name, fp32 `[B, K]`."""
        images = self._laid_out(images)
        return self.each(lambda name: self[name](images).float().softmax(-1), not self.training)

    def _laid_out(self, images: Tensor) -> Tensor:
        return (
            images.contiguous(memory_format=torch.channels_last) if self.channels_last else images
        )

    def each(self, function: Callable[[str], T], in_threads: bool = False) -> dict[str, T]:
        """What `function` gives for each network's name.

        Args:
            function: what it does with one network does not depend on the other.
            in_threads: let a second thread have the second network, where `two_threads`. PyTorch's
                operations let go of Python's lock, so the two then use two cores.
        """
        first, *others = self
        # Autocast is a thread's own, and left to the one that has it.
        if not (in_threads and self.two_threads and others) or torch.is_autocast_enabled("cpu"):
            return {name: function(name) for name in self}
        (second,), wanted, threads = others, torch.is_grad_enabled(), torch.get_num_threads()

        def in_second_thread() -> T:
            # Each Python thread has a setting of its own, from when it first worked.
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with torch.set_grad_enabled(wanted):
                return function(second)

        found = _second_thread().submit(in_second_thread)
        try:
            return {first: function(first), second: found.result()}
        finally:
            found.exception()  # nothing goes on while the other thread still works


@cache
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="second network")


# A forked process has the executor, but not its thread.
os.register_at_fork(after_in_child=_second_thread.cache_clear)
