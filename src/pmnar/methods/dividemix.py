"""DivideMix: each network is trained on what the other one's losses call clean, and on the rest.

Li, Socher and Hoi, "DivideMix: learning with noisy labels as semi-supervised learning", ICLR 2020.
It needs to know nothing of the noise; the strength λ_u that suits depends on its rate.

Departures from its public code, beside that of `SemiSupervised`: at least a batch of the likeliest
samples is labelled, where the code stops at a division with none; confidence's penalty in the
warm-up is a switch, not a matter of the noise's name. UNVERIFIED, and so a switch: whether a
network predicts its own batches by their statistics (`predict_by`), as UNICON's code does.
"""

from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.losses import cross_entropy
from pmnar.methods.measurement import Measurement, Outputs
from pmnar.methods.semi_supervised import SemiSupervised
from pmnar.methods.setting import Setting
from pmnar.runtime.seeding import derive_seed
from pmnar.samples.mixtures import clean_probability, rescaled
from pmnar.samples.selection import most_likely


class DivideMix(SemiSupervised):
    """DivideMix (Algorithm 1).

    Args:
        setting: what all methods share.
        threshold: τ in [0, 1): labels that are likelier right than this are kept.
        history: how many epochs' losses are averaged for the mixture, at least 1 (the paper: 1,
            and 5 at 90 % of noise).
        **shared: see `SemiSupervised`.

    Attributes:
        past: losses of the last epochs, rescaled, the newest first, `[2, history, N]`; it is there
            where `history` is over 1.
        divisions: how many there were, int64 `[]`.

    Raises:
        InputError: a value is out of its range.
    """

    views = ("weak", "weak")
    past: Tensor
    divisions: Tensor

    def __init__(
        self, setting: Setting, *, threshold: float = 0.5, history: int = 1, **shared: Any
    ) -> None:
        check_reals("in [0, 1)", threshold=threshold)
        check_counts(1, history=history)
        super().__init__(setting, **shared)
        self.threshold, self.history = threshold, history
        self.register_buffer("divisions", torch.zeros((), dtype=torch.int64))
        if history > 1:
            self.register_buffer("past", torch.zeros(2, history, len(self.labels)))

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`loss <network>`: cross-entropy with the given labels."""
        return {f"loss {n}": cross_entropy(o.logits, batch.labels) for n, o in outputs.items()}

    def divide(self, epoch: int, measured: Measurement) -> None:
        """Fit a mixture to each network's losses; it divides for the other network."""
        self.divisions += 1
        for k, peer in enumerate(self.peers.values()):
            losses = self._remembered(1 - k, rescaled(measured.kept[f"loss {peer}"]))
            seed = derive_seed(self.seed, "mixture", epoch, peer)
            self.clean[k] = clean_probability(losses, seed)
            self.labelled[k] = most_likely(self.clean[k], self.threshold, self.batch_size)

    def _remembered(self, network: int, losses: Tensor) -> Tensor:
        """A network's mean losses over the epochs that are remembered, with this one, `[N]`."""
        if self.history == 1:
            return losses
        past = self.past[network]
        past.copy_(torch.cat([losses[None].to(past.dtype), past[:-1]]))
        return past[: int(self.divisions)].mean(0)

    def scores(self) -> dict[str, Tensor]:
        """`clean_probability` of each label by the mixtures, mean of the networks'."""
        return {"clean_probability": self.clean.mean(0)} if self.divisions > 0 else {}
