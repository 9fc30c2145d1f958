"""What every method is given, whatever it does with it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pmnar.checks import check_reals
from pmnar.errors import InputError
from pmnar.runtime.compute import Compute

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


@dataclass(frozen=True)
class Setting:
    """One argument for what all methods share.

    Attributes:
        network: called once for each network; images `[B, C, H, W]` → logits `[B, K]`.
        optimizer: called with one parameter group a network.
        scheduler: called with the optimiser; stepped after each epoch.
        labels: the given labels of the training set, int64 `[N]`.
        class_names: K names, at least 2.
        test_names: the test splits, in the order of the data module's loaders.
        seed: seeds the networks' initial weights and everything drawn in training.
        gradient_clip: largest gradient norm of each network, or None.
        compute: what to compute with.
    """

    network: Callable[[], nn.Module]
    optimizer: OptimizerFactory
    scheduler: SchedulerFactory
    labels: Tensor
    class_names: tuple[str, ...]
    test_names: tuple[str, ...] = ("test",)
    seed: int = 0
    gradient_clip: float | None = None
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        """Check what can be.

        Raises:
            InputError: there are under two classes, or the clip is not over 0.
        """
        if len(self.class_names) < 2:
            raise InputError(f"a classifier needs at least 2 classes, got {len(self.class_names)}")
        check_reals("over 0", True, gradient_clip=self.gradient_clip)

    def with_network(self, wrap: Callable[[nn.Module], nn.Module]) -> "Setting":
        """This setting with a head, or whatever `wrap` adds, around each network."""
        network = self.network
        return replace(self, network=lambda: wrap(network()))
