"""Webly supervised learning: first what is easy, then all of it, by how classes are confused.

Chen and Gupta, "Webly supervised learning of convolutional networks", ICCV 2015. It needs to know
nothing of the noise, but how many of the samples are easy.

Departures: the paper has two sets of images, from a search engine and from a site of photographs.
Of one set those are easy here that the network fits best, or whose neighbours agree most, the same
share of each class, chosen before each epoch of the first stage; the second stage is of all. It
goes on from the first one's network, under the same schedule. UNVERIFIED, and so switches: how many
related classes are kept of each (`related`), and whether labels or predictions go through the
matrix (`through`; its code's layer takes the matrix's rows as targets).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data import NoisyDataModule
from pmnar.data.batches import Batch, Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, soft_cross_entropy
from pmnar.methods.measurement import Measurement, Outputs
from pmnar.methods.setting import Setting
from pmnar.methods.stages import StagedMethod
from pmnar.methods.terms import Losses, mean_over
from pmnar.samples.neighbours import balanced_votes, neighbours_asked
from pmnar.samples.reweighting import relative_weights
from pmnar.samples.selection import most_likely, same_share_of_each_class
from pmnar.samples.targets import LEAST, one_hot, probabilities

EASY, HARD = "easy", "hard"
CHOICES = {"easy_by": ("loss", "agreement"), "through": ("labels", "predictions")}


class Webly(StagedMethod):
    """Cross-entropy of easy samples; then of all, with what a label's class is taken for.

    Args:
        setting: what all methods share.
        networks: 1.
        easy_epochs: of the first stage, at least 1.
        hard_epochs: of the second, at least 0.
        choose_after: epochs of the first stage in which all samples count as easy, at least 1.
        easy_share: how many of each given class are easy, in (0, 1]; 1: all.
        easy_by: `loss`, the smallest, or `agreement` of neighbours' labels, the largest.
        related: the classes that are kept of what a class is taken for, at least 1.
        through: the fixed layer that the matrix makes is for the `labels`, which become targets, or
            for the `predictions`.
        trim: leave samples out of the second stage whose cross-entropy is not below this, over 0;
            None: none.

    Attributes:
        easy: which samples are, bool `[N]`.
        easiness: by which they were chosen last, in [0, 1], `[N]`.
        relations: of a class, what easy samples given it are taken for, `[K, K]`, rows of sum 1.

    Raises:
        InputError: a value is out of its range, or the network does not tell its features, where
            neighbours are asked.
    """

    losses_are_apart = True
    easy: Tensor
    easiness: Tensor
    relations: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        easy_epochs: int = 30,
        hard_epochs: int = 30,
        choose_after: int = 10,
        easy_share: float = 0.5,
        easy_by: str = "loss",
        related: int = 5,
        through: str = "labels",
        trim: float | None = None,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for webly learning, got {networks}")
        check_counts(1, choose_after=choose_after, related=related)
        check_reals("in (0, 1]", easy_share=easy_share)
        check_reals("over 0", True, trim=trim)
        for key, choice in (("easy_by", easy_by), ("through", through)):
            if choice not in CHOICES[key]:
                allowed = ", ".join(CHOICES[key])
                raise InputError(f"method.{key} must be one of {allowed}, got {choice}")
        super().__init__(setting, {EASY: easy_epochs, HARD: hard_epochs})
        self.choose_after, self.easy_share, self.easy_by = choose_after, easy_share, easy_by
        self.related = min(related, self.num_classes)
        self.through, self.trim = through, trim
        self.needs_features = easy_by == "agreement"
        self.register_buffer("easy", torch.ones_like(self.labels, dtype=torch.bool))
        self.register_buffer("easiness", torch.ones_like(self.labels, dtype=torch.float32))
        self.register_buffer("relations", torch.eye(self.num_classes, device=self.labels.device))
        self.batch_size = 2

    def attach(self, data: NoisyDataModule) -> None:
        """Ask for views and streams, and keep how many samples a batch has."""
        super().attach(data)
        self.batch_size = data.batch_size

    def advice(self, epochs: int) -> str | None:
        """That nothing is left out, or what a run of so many epochs does not come to."""
        if self.choose_after < self.stages[EASY]:
            return super().advice(epochs)
        return (
            f"method.choose_after={self.choose_after} is not below method.easy_epochs="
            f"{self.stages[EASY]}: the first stage is of all samples, not of the easy ones"
        )

    # -- between epochs ---------------------------------------------------------------------------

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Features where neighbours are asked; probabilities at the end of the first stage."""
        found, said = {}, outputs["first"]
        if said.features is not None:
            found["features"] = said.features
        if self._ends(self.current_epoch + 1):
            found["said"] = said.probabilities
        return found

    def _ends(self, epoch: int) -> bool:
        """Whether the first stage ends with an epoch (1-based), and another follows."""
        return HARD in self.stages and self.stage_of(epoch) == (EASY, self.stages[EASY])

    def prepare_epoch(self, epoch: int) -> None:
        """After epochs of the first stage: choose what is easy, in the end how classes relate."""
        stage, done = self.stage_of(epoch - 1) if epoch > 1 else (EASY, 0)
        if stage == EASY and (done >= self.choose_after or self._ends(epoch - 1)):
            measured = self.measure()
            self._choose(measured)
            if self._ends(epoch - 1):
                self.relations.copy_(self._relations(measured.kept["said"]))
        self.record["easy"] = float(self.easy.double().mean())

    def _choose(self, measured: Measurement) -> None:
        if self.easy_by == "loss":
            self.easiness.copy_(measured.confidence["first"])
        else:
            asked = neighbours_asked(len(self.labels))
            features = measured.kept["features"]
            votes = balanced_votes(features, self.labels, self.num_classes, asked)
            self.easiness.copy_(relative_weights(votes, self.labels))
        share, classes = self.easy_share, self.num_classes
        chosen = same_share_of_each_class(-self.easiness, self.labels, share, classes)
        self.easy.copy_(chosen | most_likely(self.easiness, torch.inf, self.batch_size))

    def _relations(self, said: Tensor) -> Tensor:
        """The mean prediction `[K, K]` of each given class's easy samples, its largest parts.

        A class without such samples is taken for itself.
        """
        members = one_hot(self.labels, self.num_classes) * self.easy[:, None]
        found = members.T @ said.float()
        found = torch.where(members.sum(0)[:, None] > 0, found, torch.eye(len(found)).to(found))
        kept = found.topk(self.related)
        found = torch.zeros_like(found).scatter(-1, kept.indices, kept.values)
        return found / found.sum(-1, keepdim=True)

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        """All samples; in the first stage the easy ones, once they are chosen."""
        stage, number = self.stage_of(epoch)
        if stage != EASY or number <= self.choose_after:
            return super().streams(epoch)
        return {EASY: Stream(self.easy.cpu().nonzero()[:, 0])}

    def scores(self) -> dict[str, Tensor]:
        """`easiness`: the probability of the given label, or how far neighbours agree with it.

        As it was when samples were chosen last, in [0, 1]; 1 before.
        """
        return {"easiness": self.easiness}

    # -- losses -----------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy; in the second stage through the fixed layer: `[B]`, trimmed a scalar."""
        assert batch.share is not None
        [z] = self.networks.logits(batch.views)["first"]
        plain = cross_entropy(z, batch.labels)
        if self.stage[0] == EASY:
            return {"first": {"loss_first": plain}}
        rows = self.related_loss(z, batch.labels)
        if self.trim is not None:
            rows = mean_over(rows, (plain.detach() < self.trim).to(rows.dtype), batch.share)
        return {"first": {"loss_first": rows}}

    def related_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`−Σ_k R_yk log p_k`, or `−log Σ_k p_k R_ky` with predictions through the layer, `[B]`."""
        if self.through == "labels":
            return soft_cross_entropy(logits, self.relations[labels])
        p = probabilities(logits)
        given = (p * self.relations.T[labels].to(p.dtype)).sum(-1)
        return -given.clamp_min(LEAST).log()
