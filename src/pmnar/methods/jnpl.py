"""JNPL: negative and positive learning at once, with losses that do not push where they err.

Kim et al., "Joint negative and positive learning for noisy labels", CVPR 2021. It needs to know
nothing of the noise.

There is no public code, and the paper leaves two points open, which are switches here: which label
a selected sample is taught, and over which samples positive learning is averaged. The end is
NLNL's, with its departures (see `PseudoLabels`).
"""

from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import drawn_negative_plus, positive_plus
from pmnar.methods.pseudo_labels import PseudoLabels
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Terms, mean_over
from pmnar.samples.targets import probabilities

SWITCHES = {
    "positive_label": ("agreed", "given", "predicted"),
    "positive_mean": ("batch", "selected"),
}


class JNPL(PseudoLabels):
    """`NL+ + λ · PL+`, then soft labels.

    Args:
        setting: what all methods share.
        joint_epochs: of joint learning, at least 1.
        positive_strength: λ, at least 0.
        positive_order: M of PL+, at least -1, where it is cross-entropy.
        positive_label: what a selected sample is taught: its label if that is what is predicted,
            or else nothing (`agreed`), its `given` label, or the `predicted` one.
        positive_mean: PL+ is averaged over the `batch`, or over those `selected` of it.
        soft_rate: see `PseudoLabels`, as what is `shared`.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        joint_epochs: int = 1000,
        positive_strength: float = 0.01,
        positive_order: int = 3,
        positive_label: str = "agreed",
        positive_mean: str = "batch",
        soft_rate: float = 10.0,
        **shared: Any,
    ) -> None:
        check_reals("at least 0", positive_strength=positive_strength)
        check_counts(-1, positive_order=positive_order)
        for key, value in (("positive_label", positive_label), ("positive_mean", positive_mean)):
            if value not in SWITCHES[key]:
                allowed = ", ".join(SWITCHES[key])
                raise InputError(f"method.{key} must be one of {allowed}, got {value}")
        super().__init__(setting, {"joint": joint_epochs}, soft_rate=soft_rate, **shared)
        self.positive_strength, self.positive_order = positive_strength, positive_order
        self.positive_label, self.positive_mean = positive_label, positive_mean

    def learn(self, stage: str, logits: Tensor, batch: Batch) -> Terms:
        """NL+ of each sample, `[B]`, and λ · PL+ of those selected."""
        assert batch.share is not None
        label, selected = self._select(logits.detach(), batch)
        positive = self.positive_strength * positive_plus(logits, label, self.positive_order)
        if self.positive_mean == "batch":
            positive = selected * positive
        else:
            positive = mean_over(positive, selected, batch.share)
        negative = drawn_negative_plus(logits, self.drawn(batch))
        return {"loss_first": negative, "loss_positive": positive}

    def _select(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What each sample is taught, int64 `[B]`, and 1 where it is, else 0, `[B]`.

        A candidate has one class likelier than chance; it is taken with that class's probability.
        """
        share = batch.share
        assert share is not None
        top, predicted = probabilities(logits).topk(2)
        uniform = torch.rand(share.size, generator=share.generator("selection"))
        mine = share.take(uniform).to(logits.device, non_blocking=True)
        selected = (top[:, 1] < 1 / self.num_classes) & (mine < top[:, 0])
        label = predicted[:, 0] if self.positive_label == "predicted" else batch.labels
        if self.positive_label == "agreed":
            selected = selected & (predicted[:, 0] == batch.labels)
        return label, selected.to(top.dtype)
