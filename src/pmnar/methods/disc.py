"""DISC: each sample's own threshold on its confidence says what becomes of its label.

Li et al., "DISC: learning from noisy labels via dynamic instance-specific selection and
correction", CVPR 2023. It needs to know nothing of the noise; the memory of thresholds and the
strength of the hard set that suit depend on it.

Departures from its public code: what is in no set is in the mixed batches as it is, unmixed and
without a loss, for BatchNorm's statistics alone, where the code leaves it out; a sample that an
epoch has no room for keeps its sets and thresholds.
"""

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch, Share
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, generalised_cross_entropy, soft_cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.mixing import Mixing
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses, Terms, mean_over
from pmnar.methods.warm_up import ends_in_warm_up
from pmnar.samples.targets import one_hot, probabilities

NOTHING, CLEAN, HARD, PURIFIED = range(4)


class DISC(NoisyLabelMethod):
    """Cross-entropy; then by set: clean, hard or purified (of a label that is predicted).

    A sample is clean where its label is likelier than its threshold in both views, hard where it is
    in one. It is purified where it is in neither and its likeliest class is likely enough. Each
    view's threshold is a moving average over epochs of its largest probability.

    Args:
        setting: what all methods share.
        networks: 1.
        warmup_epochs: of cross-entropy of all labels, at least 0. With 0 the first epoch takes
            every label for clean.
        memory: how much of a threshold stays in an epoch, in [0, 1).
        margin: σ: how much over the thresholds' mean a prediction must be, at least 0,
        limit: but for one over this, in [0, 1].
        hard_strength: λ_h of the hard set's loss, at least 0.
        q: of that loss, generalised cross-entropy, in (0, 1].
        alpha: of MixUp, over 0.

    Attributes:
        thresholds: of the weak and the strong view, float32 `[2, N]`, at first 1 / N.
        confidence: of the given label, in the last epoch's views, float32 `[2, N]`.
        top: the largest probability, in the same, float32 `[2, N]`.
        guess: the likeliest class of both views' mean, int64 `[N]`.
        sureness: its probability, float32 `[N]`; -1 where this epoch has not shown the sample.
        sets: 0: none, 1: clean, 2: hard, 3: purified, int64 `[N]`.

    Raises:
        InputError: a value is out of its range.
    """

    views = ("weak", "strong")
    thresholds: Tensor
    confidence: Tensor
    top: Tensor
    guess: Tensor
    sureness: Tensor
    sets: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        warmup_epochs: int = 20,
        memory: float = 0.99,
        margin: float = 0.5,
        limit: float = 0.9,
        hard_strength: float = 1.0,
        q: float = 0.7,
        alpha: float = 5.0,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for DISC, got {networks}")
        check_counts(0, warmup_epochs=warmup_epochs)
        check_reals("in [0, 1)", memory=memory)
        check_reals("in [0, 1]", limit=limit)
        check_reals("in (0, 1]", q=q)
        check_reals("over 0", alpha=alpha)
        check_reals("at least 0", margin=margin, hard_strength=hard_strength)
        super().__init__(setting, networks=1)
        self.warmup_epochs, self.memory, self.alpha = warmup_epochs, memory, alpha
        self.margin, self.limit, self.q = margin, limit, q
        self.hard_strength = hard_strength
        size, device = len(self.labels), self.labels.device
        self.register_buffer("thresholds", torch.full((2, size), 1 / size, device=device))
        for name in ("confidence", "top"):
            self.register_buffer(name, torch.zeros(2, size, device=device))
        self.register_buffer("guess", self.labels.clone())
        self.register_buffer("sureness", torch.full((size,), -1.0, device=device))
        self.register_buffer("sets", torch.full_like(self.labels, CLEAN))

    def advice(self, epochs: int) -> str | None:
        """That a run ends within its warm-up."""
        so = "nothing is selected, and training is cross-entropy on the given labels"
        return ends_in_warm_up(self.warmup_epochs, epochs, so)

    def events(self) -> dict[str, int]:
        """When samples begin to be selected."""
        return {"warm-up ends": self.warmup_epochs}

    # -- the loss ---------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """Of both views: cross-entropy in the warm-up; then the terms of the three sets."""
        share, views = batch.share, batch.views
        assert share is not None
        [together] = self.networks.logits((torch.cat(views),))["first"]
        both = list(together.chunk(2))
        if self.current_epoch < self.warmup_epochs:
            rows = [cross_entropy(z, batch.labels) for z in both]
            found = {"loss_first": rows[0] + rows[1]}
        else:
            sets = self.sets[batch.indices]
            found = self._of_label(both, batch.labels, sets) | self._mixed(batch, sets, share)
        self._record(batch, both)  # of which the guess was used just now
        return {"first": found}

    def _of_label(self, both: list[Tensor], labels: Tensor, sets: Tensor) -> Terms:
        """Cross-entropy of the clean set, and generalised cross-entropy of the hard one, `[B]`."""
        clean = torch.stack([cross_entropy(z, labels) for z in both]).sum(0)
        hard = torch.stack([generalised_cross_entropy(z, labels, self.q) for z in both]).sum(0)
        return {
            "loss_first": torch.where(sets == CLEAN, clean, 0),
            "loss_hard": torch.where(sets == HARD, self.hard_strength * hard, 0),
        }

    def _mixed(self, batch: Batch, sets: Tensor, share: Share) -> Terms:
        """MixUp among all that are in a set, in each view, a scalar: the mean over these."""
        labels = torch.where(sets == PURIFIED, self.guess[batch.indices], batch.labels)
        among, target = sets != NOTHING, one_hot(labels, self.num_classes)
        found = []
        for name, view in zip(self.views, batch.views, strict=True):
            mixing = Mixing(
                [share], self.alpha, larger=True, purpose=f"mixing {name}", among=share.whole(among)
            )
            [z] = self.networks.logits_of("first", (mixing([view]),))
            rows = soft_cross_entropy(z, mixing([target]))
            found.append(mean_over(rows, among.to(rows.dtype), share))
        return {"loss_mixed": found[0] + found[1]}

    @torch.no_grad()
    def _record(self, batch: Batch, both: list[Tensor]) -> None:
        """Keep what is said of each sample in this epoch."""
        said = [probabilities(z) for z in both]
        for place, p in enumerate(said):
            given = p.gather(-1, batch.labels[:, None]).squeeze(-1)
            self.write(self.confidence[place], batch, given)
            self.write(self.top[place], batch, p.amax(-1))
        sureness, guess = ((said[0] + said[1]) / 2).max(-1)
        self.write(self.sureness, batch, sureness)
        self.write(self.guess, batch, guess)

    # -- between epochs ---------------------------------------------------------------------------

    def prepare_epoch(self, epoch: int) -> None:
        """Put each sample that was shown into its set, by its thresholds; then move these."""
        shown = self.sureness >= 0
        if epoch > 1:
            over = self.confidence > self.thresholds
            enough = (self.thresholds.mean(0) + self.margin).clamp_max(self.limit)
            purified = torch.where(self.sureness > enough, PURIFIED, NOTHING)
            found = torch.where(over.all(0), CLEAN, torch.where(over.any(0), HARD, purified))
            self.sets.copy_(torch.where(shown, found, self.sets))
            moved = self.memory * self.thresholds + (1 - self.memory) * self.top
            self.thresholds.copy_(torch.where(shown, moved, self.thresholds))
            self.sureness.fill_(-1)
        if epoch > self.warmup_epochs:
            names = {"clean": CLEAN, "hard": HARD, "purified": PURIFIED}
            self.record |= {
                name: float((self.sets == number).double().mean()) for name, number in names.items()
            }

    def scores(self) -> dict[str, Tensor]:
        """`over_threshold`: by how much the given label is, mean of the views, in [-1, 1].

        And `confirmed`: the share of the views in which it was at last: 0, 0.5 or 1.
        """
        confirmed = torch.where(self.sets == CLEAN, 1.0, torch.where(self.sets == HARD, 0.5, 0.0))
        over = self.confidence - self.thresholds
        return {"over_threshold": over.mean(0), "confirmed": confirmed}
