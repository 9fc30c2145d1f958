"""The callback that judges, epoch by epoch, how well wrong labels are found.

It and its neighbours derive from Lightning's `Checkpoint`, because Lightning runs such callbacks
after the module's own end of epoch, when the ordered pass has been made.
"""

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from pmnar.detection import detection_metrics
from pmnar.methods.base import NoisyLabelMethod


def as_method(module: L.LightningModule) -> NoisyLabelMethod:
    """The module that a callback is given, as what it is."""
    assert isinstance(module, NoisyLabelMethod)
    return module


class DetectionMonitor(Checkpoint):
    """Records how well wrong labels are found, whenever the ordered pass is at hand.

    It holds the true labels, so that the method need not. Where a method makes no ordered pass of
    its own, an epoch has no such numbers, the last one neither: a run that is resumed for longer
    must not have them where an unbroken one has none. The summary has them always.

    Args:
        true: true labels int64 `[N]`, or None where they are not known.
        threshold: a sample is called mislabelled where its confidence is below, in (0, 1).
    """

    def __init__(self, true: Tensor | None, threshold: float = 0.5) -> None:
        self.true, self.threshold = true, threshold

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add `detection_*` to the epoch's record."""
        method = as_method(pl_module)
        if method.measurement is None:
            return
        confidence = method.measure().confidence["first"].cpu()
        found = detection_metrics(confidence, method.labels.cpu(), self.true, self.threshold)
        found.pop("threshold")
        method.record |= {f"detection_{name}": value for name, value in found.items()}
