"""MentorNet, data-driven: a small network, taught by true labels, weighs a sample by its loss.

Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on corrupted
labels", ICML 2018. It needs samples of which the true label is known beside the given one
(`data.clean`), and to know nothing of the noise.

Departures from its public code: the mentor learns beside the network, from samples that this is
trained on under their given labels as on any others, where the code's learns from the losses of an
earlier run; it is told a loss and by how much it exceeds the threshold, and neither the label nor
how much is done, of which the code's is told one value alone from the burn-in on; a layer of tanh
units takes both, without the recurrent unit before it; Adam teaches it; weight decay does not fall
with the weights' mean.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pmnar.checks import check_counts, check_reals
from pmnar.data import NoisyDataModule
from pmnar.data.batches import Batch, Share, Stream
from pmnar.losses import cross_entropy
from pmnar.methods.clean_samples import global_gradient, with_clean
from pmnar.methods.mentornet import MentorNet
from pmnar.methods.scorer import Scorer
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.names import CLEAN
from pmnar.runtime.seeding import derive_seed


class MentorNetDD(MentorNet):
    """The mentor says how likely a sample's label is right, as it has learnt from others.

    Args:
        setting: what all methods share.
        clean_batch_size: samples with true labels beside each batch, at least 2; None: so many that
            they are seen as often as the others.
        hidden_units: of the mentor, at least 1.
        mentor_rate: its learning rate, at least 0.
        last_dropout: share of a batch left out at random in the end, in [0, 1).
        last_dropout_from: share of the curriculum after which the end begins, in [0, 1].
        **settings: of `MentorNet`.

    Attributes:
        mentor: of a loss, and the loss less the threshold.
        given_of_clean: the given labels of the split `clean`, int64 `[n]`; of the data, not kept.

    Raises:
        InputError: a value is out of its range.
    """

    uses_truth = True
    given_of_clean: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        clean_batch_size: int | None = None,
        hidden_units: int = 20,
        mentor_rate: float = 0.01,
        last_dropout: float = 0.9,
        last_dropout_from: float = 0.95,
        **settings: Any,
    ) -> None:
        check_counts(2, True, clean_batch_size=clean_batch_size)
        check_counts(1, hidden_units=hidden_units)
        check_reals("at least 0", mentor_rate=mentor_rate)
        check_reals("in [0, 1)", last_dropout=last_dropout)
        check_reals("in [0, 1]", last_dropout_from=last_dropout_from)
        super().__init__(setting, **settings)
        self.clean_batch_size, self.mentor_rate = clean_batch_size, mentor_rate
        self.last_dropout, self.last_dropout_from = last_dropout, last_dropout_from
        seed = derive_seed(self.seed, "mentor")
        self.mentor = Scorer(2, hidden_units, torch.tanh, seed, self.labels.device)

    def attach(self, data: NoisyDataModule) -> None:
        """Learn what labels were given to the clean samples."""
        super().attach(data)
        given = data.given_of_clean.to(self.labels.device)
        self.register_buffer("given_of_clean", given, persistent=False)
        as_often = round(data.batch_size * len(given) / len(self.labels))
        self._beside = self.clean_batch_size or max(as_often, 2)

    def streams(self, epoch: int) -> dict[str, Stream]:
        """All samples, and beside them the clean ones."""
        return with_clean(self, self._beside)

    def losses(self, batch: Batch) -> Losses:
        """Weighted cross-entropy of the given labels, `[B]`, and of the clean samples', a scalar.

        Both are over the number of samples in the batch. They go through the network together.
        """
        clean: Batch = batch.parts[CLEAN]
        share, beside = batch.share, clean.share
        assert share is not None
        assert beside is not None
        given = self.given_of_clean[clean.indices]
        [z] = self.networks.logits((torch.cat([batch.views[0], clean.views[0]]),))["first"]
        both = cross_entropy(z, torch.cat([batch.labels, given]))
        loss, of_clean = torch.split(both, [len(batch.labels), len(given)])
        self.follow(share.whole(loss.detach()))
        self.teach(of_clean.detach(), given == clean.labels, beside)
        weights = self.judged(loss.detach())
        self.write(self.sample_weights, batch, weights)
        first = self.kept(share, loss.device) * weights * loss
        learnt = self.kept(beside, loss.device) * self.judged(of_clean.detach()) * of_clean
        return {
            "first": {
                "loss_first": first,
                "loss_clean": beside.mean(learnt) * (beside.size / share.size),
            }
        }

    def teach(self, losses: Tensor, right: Tensor, share: Share) -> None:
        """A step of the mentor: which of these losses `[B]` are of right labels, bool `[B]`."""
        leaf = self.mentor.leaf()
        scores = self.mentor.of(self._told(losses), leaf)
        wrong_by = binary_cross_entropy_with_logits(
            scores, right.to(scores.dtype), reduction="none"
        )
        [gradient] = global_gradient(share.mean(wrong_by), [leaf], share)
        self.mentor.learn(gradient, self.mentor_rate)

    def judged(self, losses: Tensor) -> Tensor:
        """The weights in [0, 1] of losses `[B]` at this time."""
        return torch.ones_like(losses) if self.done < self.burn_in else self.trust(losses)

    def trust(self, losses: Tensor) -> Tensor:
        """How likely labels of these losses `[B]` are right, in [0, 1], `[B]`, by the mentor."""
        return self.mentor.of(self._told(losses)).sigmoid()

    def _told(self, losses: Tensor) -> Tensor:
        return torch.stack([losses, losses - self.threshold.to(losses.dtype)], -1)

    @property
    def dropout_now(self) -> float:
        """The share of a batch that is left out at random at this time."""
        at_the_end = self.done >= max(self.last_dropout_from, self.first_dropout_until)
        return self.last_dropout if at_the_end else super().dropout_now

    @property
    def suspects_by(self) -> str:
        """What the mentor says, not the network alone."""
        return "trust"

    @torch.no_grad()
    def scores(self) -> dict[str, Tensor]:
        """`trust`: how likely the label is right by the mentor, of the image as it is."""
        confidence = self.measure().confidence["first"]
        return {"trust": self.trust(-confidence.clamp_min(torch.finfo().tiny).log())}
