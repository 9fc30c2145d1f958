"""The callback that warns of classes which the networks stop predicting."""

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_warn

from pmnar.callbacks.detection import as_method
from pmnar.detection import class_counts, describe_lost


class LostClasses(Checkpoint):
    """Counts what the first network predicts of each class, whenever an ordered pass is at hand.

    A class may starve long before its weights or its test recall say so: it is *lost* once it is
    predicted for under a tenth of as many training samples as it is given to. Each is warned of
    once, when that is first seen; in the first tenth of a run only of those that had been predicted
    before, since the others may yet be learnt. What a class counts goes into the epoch's numbers
    `by_class`.

    Args:
        name: the method's, for the warning: one command may train two.
    """

    def __init__(self, name: str = "") -> None:
        self.warned_of: set[int] = set()
        self.learnt: set[int] = set()
        self.who = f"{name}: " if name else ""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add `given`, `predicted` and `recall_given` of each class; warn of the newly lost."""
        method = as_method(pl_module)
        if method.measurement is None:
            return
        prediction = method.measure().prediction["first"]
        counts = class_counts(prediction, method.labels, method.num_classes)
        method.by_class |= {
            "given": counts.given,
            "predicted": counts.predicted,
            "recall_given": counts.recall,
        }
        self.learnt |= set(range(method.num_classes)).difference(counts.lost)
        is_early = trainer.current_epoch + 1 <= (trainer.max_epochs or 0) // 10
        lost = self.learnt.intersection(counts.lost) if is_early else counts.lost
        if new := sorted(set(lost) - self.warned_of):
            more = f"more ({len(lost):,} in all) " if len(lost) > len(new) else ""
            self.warned_of.update(new)
            rank_zero_warn(
                f"{self.who}after epoch {trainer.current_epoch + 1} the first network hardly "
                f"predicts {len(new):,} {more}of {method.num_classes:,} classes (training samples "
                f"predicted/given): {describe_lost(counts, new, method.class_names)}. They may be "
                "lost; classes.csv follows each class"
            )
