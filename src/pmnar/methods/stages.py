"""Methods that train in stages, one after the other."""

from collections.abc import Mapping
from itertools import accumulate

from lightning.pytorch.core.optimizer import LightningOptimizer
from torch.optim.lr_scheduler import LRScheduler

from pmnar.checks import check_counts
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting


class StagedMethod(NoisyLabelMethod):
    """A method whose epochs are those of its stages; the last one goes on as long as asked.

    A stage begins with its first epoch, not with the end of the one before, so that a run that
    ends between two leaves the networks that it has trained.

    Args:
        setting: what all methods share.
        stages: epochs of each stage by name, in their order; one without epochs is left out.
        networks: 1 or 2.

    Raises:
        InputError: a number is below 0, or the first 0.
    """

    schedules: int = 1
    """How often a run goes through its schedule of learning rates, where stages begin it anew."""

    def __init__(self, setting: Setting, stages: Mapping[str, int], *, networks: int = 1) -> None:
        for place, (key, epochs) in enumerate(stages.items()):
            check_counts(int(place == 0), **{f"{key}_epochs": epochs})
        super().__init__(setting, networks=networks)
        self.stages = {name: epochs for name, epochs in stages.items() if epochs}

    def stage_of(self, epoch: int) -> tuple[str, int]:
        """The stage that an epoch (1-based) is in, and its number (1-based) there."""
        *others, last = self.stages
        for name in others:
            if epoch <= self.stages[name]:
                return name, epoch
            epoch -= self.stages[name]
        return last, epoch

    @property
    def stage(self) -> tuple[str, int]:
        """The same of the epoch at hand."""
        return self.stage_of(self.current_epoch + 1)

    def begin_stage(self, name: str) -> None:
        """Called when the first epoch of a stage begins, but for the first stage's."""

    def on_train_epoch_start(self) -> None:
        """Begin a stage, where it is time to."""
        name, epoch = self.stage
        if epoch == 1 and self.current_epoch:
            self.begin_stage(name)
        super().on_train_epoch_start()

    def events(self) -> Mapping[str, int]:
        """Where a stage follows another."""
        _, *others = self.stages
        *ends, _ = accumulate(self.stages.values())
        return {f"{name} begins": end for name, end in zip(others, ends, strict=True)}

    def multiply_rates(self, factor: float) -> None:
        """Multiply all learning rates, from now on: the schedule goes on from there."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for group in optimizer.param_groups:
            group["lr"] *= factor
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LRScheduler)
        # Of which schedules in closed form take every further rate.
        scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]

    def advice(self, epochs: int) -> str | None:
        """What a run of so many epochs does not come to."""
        needed = sum(self.stages.values())
        if epochs >= needed or epochs < 0:
            return None
        lengths = ", ".join(f"{name} {length}" for name, length in self.stages.items())
        return (
            f"the stages take {needed} epochs ({lengths}): with trainer.max_epochs={epochs} the "
            f"run ends in the stage {self.stage_of(epochs)[0]}; method.<stage>_epochs sets each"
        )
