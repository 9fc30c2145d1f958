"""AutoAugment (arXiv:1805.09501) and RandAugment (arXiv:1909.13719), drawn per sample."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from pmnar.augment.base import Draws
from pmnar.augment.operations import Level, Operations
from pmnar.augment.tables import POLICIES, RANDAUGMENT, SIGNED, magnitudes
from pmnar.errors import InputError


class _Policy:
    """Steps of fixed magnitudes, made ready once for each image size."""

    def __init__(self) -> None:
        self._prepared: dict[tuple[int, int], tuple[Operations, Tensor]] = {}

    def _steps(self, height: int, width: int) -> Iterator[Level]:
        """Every operation that may be drawn, with its magnitude but without a sign."""
        raise NotImplementedError

    def _prepare(self, height: int, width: int) -> tuple[Operations, Tensor]:
        """The operations, and the level of each step by sign (0 is minus), int64 `[steps, 2]`."""
        if (height, width) not in self._prepared:
            levels: dict[Level, int] = {("Identity", 0.0): 0}
            by_sign = [
                [
                    levels.setdefault((name, sign * size if name in SIGNED else size), len(levels))
                    for sign in (-1.0, 1.0)
                ]
                for name, size in self._steps(height, width)
            ]
            operations = Operations(list(levels), height, width)
            self._prepared[height, width] = operations, torch.tensor(by_sign)
        return self._prepared[height, width]


class AutoAugment(_Policy):
    """One of a policy's sub-policies: two operations, each with its probability and a sign.

    Equal to `torchvision.transforms.AutoAugment` image by image for the same draws.

    Args:
        policy: the name of a policy; `cifar10` is the only one so far.

    Raises:
        InputError: there is no such policy.
    """

    bins = 10

    def __init__(self, policy: str = "cifar10") -> None:
        super().__init__()
        if policy not in POLICIES:
            raise InputError(f"AutoAugment's policy must be one of {[*POLICIES]}, got {policy!r}")
        self.sub_policies = POLICIES[policy]
        self._probability = torch.tensor([[p for _, p, _ in pair] for pair in self.sub_policies])

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """`policy` `[size]`, `chance` in [0, 1) and `sign` (0 is minus) `[size, 2]`."""
        return {
            "policy": torch.randint(len(self.sub_policies), (size,), generator=generator),
            "chance": torch.rand((size, 2), generator=generator),
            "sign": torch.randint(2, (size, 2), generator=generator),
        }

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The changed images, uint8 `[B, C, H, W]`, C is 1 or 3."""
        operations, levels = self._prepare(*images.shape[2:])
        policy = draws["policy"]
        left_out = draws["chance"] > self._probability[policy]
        for step in range(2):
            level = levels[2 * policy + step, draws["sign"][:, step]]
            images = operations(images, level.masked_fill(left_out[:, step], 0))
        return images

    def _steps(self, height: int, width: int) -> Iterator[Level]:
        for name, _, position in itertools.chain(*self.sub_policies):
            yield name, float(magnitudes(name, self.bins, height, width)[position or 0])


class RandAugment(_Policy):
    """A number of operations in a row, each drawn from a list, all of one magnitude.

    Equal to `torchvision.transforms.RandAugment` image by image for the same draws.

    Args:
        num_ops: operations per image.
        magnitude: the bin of every operation's magnitude, in [0, num_magnitude_bins).
        num_magnitude_bins: the number of bins.
        operations: the list, out of `RANDAUGMENT`'s fourteen.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        operations: tuple[str, ...] = RANDAUGMENT,
    ) -> None:
        super().__init__()
        if num_ops < 1:
            raise InputError(f"RandAugment's num_ops must be at least 1, got {num_ops}")
        if num_magnitude_bins < 2:
            raise InputError(
                f"RandAugment's num_magnitude_bins must be at least 2, got {num_magnitude_bins}"
            )
        if not 0 <= magnitude < num_magnitude_bins:
            raise InputError(
                f"RandAugment's magnitude must be in [0, {num_magnitude_bins}), got {magnitude}"
            )
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.bins = num_magnitude_bins
        self.operations = operations

    def draw(self, size: int, shape: tuple[int, int, int], generator: torch.Generator) -> Draws:
        """`operation` (a position in the list) and `sign` (0 is minus), `[size, num_ops]`."""
        drawn = (size, self.num_ops)
        return {
            "operation": torch.randint(len(self.operations), drawn, generator=generator),
            "sign": torch.randint(2, drawn, generator=generator),
        }

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The changed images, uint8 `[B, C, H, W]`, C is 1 or 3."""
        operations, levels = self._prepare(*images.shape[2:])
        for level in levels[draws["operation"], draws["sign"]].unbind(1):
            images = operations(images, level)
        return images

    def _steps(self, height: int, width: int) -> Iterator[Level]:
        for name in self.operations:
            yield name, float(magnitudes(name, self.bins, height, width)[self.magnitude])
