"""NLNL: a network is taught what samples are not, then what those are that it trusts.

Kim et al., "NLNL: negative learning for noisy labels", ICCV 2019. It needs to know nothing of the
noise.

Departures from its public code: the network on trusted samples is shown those alone, and soft
labels are the mean of what it says of images as they are in its last epochs, where the code takes
what it said in training; a history that has fewer epochs than it may hold is averaged over those.
"""

from typing import Any

from torch import Tensor

from pmnar.data.batches import Batch
from pmnar.losses import cross_entropy, drawn_negative
from pmnar.methods.pseudo_labels import PseudoLabels
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Terms, mean_over


class NLNL(PseudoLabels):
    """Negative learning; selective negative learning; selective positive learning; soft labels.

    Args:
        setting: what all methods share.
        negative_epochs: of negative learning, at least 1.
        selective_epochs: of negative learning on labels likelier than chance, at least 0.
        positive_epochs: of cross-entropy on labels that are likely, at least 0.
        soft_rate: see `PseudoLabels`, as what is `shared`.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        negative_epochs: int = 720,
        selective_epochs: int = 720,
        positive_epochs: int = 720,
        soft_rate: float = 5.0,
        **shared: Any,
    ) -> None:
        learning = {
            "negative": negative_epochs,
            "selective": selective_epochs,
            "positive": positive_epochs,
        }
        super().__init__(setting, learning, soft_rate=soft_rate, **shared)

    def trusts_from(self, stage: str) -> float:
        """Labels likelier than chance in selective negative learning, likely ones afterwards."""
        return {"negative": 0.0, "selective": 1 / self.num_classes}.get(stage, self.cut)

    def learn(self, stage: str, logits: Tensor, batch: Batch) -> Terms:
        """Of the trusted: negative learning, or cross-entropy; both weighted by class."""
        assert batch.share is not None
        trusted = self.trusted[batch.indices].to(logits.dtype)
        weights = self.balance[batch.labels].to(logits.dtype)
        if stage == "positive":
            rows = cross_entropy(logits, batch.labels)
            return {"loss_first": mean_over(rows, trusted * weights, batch.share)}
        rows = weights * drawn_negative(logits, self.drawn(batch))
        return {"loss_first": mean_over(rows, trusted, batch.share)}
