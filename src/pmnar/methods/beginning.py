"""What an optimiser and its schedule begin with, for a stage that begins anew."""

from copy import deepcopy

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Beginning:
    """The settings of each parameter group, and the schedule's state, as they are now."""

    def __init__(self, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        self.groups = [
            {key: deepcopy(value) for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        self.schedule = deepcopy(scheduler.state_dict())

    def bring_back(self, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        """Set both to it, and let the optimiser forget what it has gathered."""
        optimizer.state.clear()
        for group, settings in zip(optimizer.param_groups, self.groups, strict=True):
            group.update(deepcopy(settings))
        scheduler.load_state_dict(deepcopy(self.schedule))
