"""How many operators PyTorch dispatches in a training step, phase by phase."""

from collections import Counter
from typing import Any

import lightning as L
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measure import Result
from benchmarks.runs import RESNET, Run, configuration, run_of

BATCH = 128
READS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2")
"""Operators that hand a device's values to the host, or need them for a shape."""
PARTS = {"training_step": "forward", "_accumulate": "sums"}
"""A method's functions whose operators make a phase."""
PHASES = ("views", "forward", "backward", "optimiser", "sums", "Lightning")


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, counts the operators of each phase, and those among them that read."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase = "Lightning"
        self.counts: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Backward is what autograd's own nodes dispatch.
        node = torch._C._current_autograd_node()
        phase = self.phase if node is None else "backward"
        self.counts[phase] += 1
        self.reads[phase] += func.__name__.split(".")[0] in READS
        return func(*args, **(kwargs or {}))

    def within(self, phase: str, function: Any) -> Any:
        """`function`, whose operators are of this phase."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before, self.phase = self.phase, phase
            try:
                return function(*args, **kwargs)
            finally:
                self.phase = before

        return wrapped


class CountOperators(L.Callback):
    """Counts the operators of the second and further steps of an epoch, in the real Trainer."""

    def __init__(self) -> None:
        self.mode = Operators()
        self.steps = 0

    def watch(self, run: Run) -> None:
        """Tell the phases of the run's steps apart."""
        method, data, within = run.method, run.data, self.mode.within
        for name, phase in PARTS.items():
            setattr(method, name, within(phase, getattr(method, name)))
        views = within("views", data.on_after_batch_transfer)
        data.on_after_batch_transfer = views  # type: ignore[method-assign]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Begin to count; the optimiser is known by now."""
        pl_module.networks.two_threads = False  # what another thread does is not seen here
        (optimizer,) = trainer.optimizers
        optimizer.register_step_pre_hook(lambda *_: setattr(self.mode, "phase", "optimiser"))
        optimizer.register_step_post_hook(lambda *_: setattr(self.mode, "phase", "forward"))
        self.mode.__enter__()  # type: ignore[no-untyped-call]

    def on_train_batch_end(self, *_: Any) -> None:
        """Count the step, but for the first, which prepares tables and momenta."""
        if self.steps == 0:
            self.mode.counts.clear()
            self.mode.reads.clear()
        self.steps += 1

    def on_train_epoch_end(self, *_: Any) -> None:
        """Come to an end, before anything else does."""
        self.mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]


def operators(method: str, *overrides: str, batch: int = BATCH, steps: int = 3) -> Result:
    """Operators a step by phase, and those that read a value; a narrow network has as many."""
    counter = CountOperators()
    cfg = configuration(
        *RESNET,
        *("network.width=8", "network.stem_stride=2"),
        *(f"method={method}", f"data.batch_size={batch}", "trainer.max_epochs=1"),
        *("trainer.limit_val_batches=0", "trainer.accelerator=cpu", "logger=none"),
        *overrides,
        images={"samples": steps * batch},
    )
    with run_of(cfg, [counter]) as run:
        counter.watch(run)
        run.fit()
    mode = counter.mode
    return {
        "operators": {phase: mode.counts[phase] / (counter.steps - 1) for phase in PHASES},
        "reads": {phase: mode.reads[phase] for phase in PHASES},
    }
