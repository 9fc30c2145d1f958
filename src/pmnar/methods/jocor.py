"""JoCoR: two networks with one loss, which is also how much they disagree.

Wei et al., "Combating noisy labels by agreement: a joint training method with co-regularization",
CVPR 2020. It needs to know how many labels are wrong: `forget_rate`, as Co-teaching.

Departure from its public code: the recipe is the data set's own (the paper's: as Co-teaching),
but for λ.
"""

from typing import Any

import torch

from pmnar.checks import check_reals
from pmnar.data.batches import Batch
from pmnar.losses import consistency, cross_entropy
from pmnar.methods.co_teaching import CoTeaching
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.samples.selection import small_loss


class JoCoR(CoTeaching):
    """`(1 − λ) · both cross-entropies + λ · both divergences`, of the samples where it is small.

    Args:
        setting: what all methods share.
        agreement: λ, in [0, 1].
        **shared: see `CoTeaching`.

    Raises:
        InputError: a value is out of its range.
    """

    losses_are_apart = False

    def __init__(
        self,
        setting: Setting,
        *,
        agreement: float = 0.9,
        **shared: Any,
    ) -> None:
        check_reals("in [0, 1]", agreement=agreement)
        super().__init__(setting, **shared)
        self.agreement = agreement
        self.losses_are_apart = agreement == 0

    def losses(self, batch: Batch) -> Losses:
        """Both terms of each network for the samples that are kept, `[B]` each."""
        share = batch.share
        assert share is not None
        logits = {name: z for name, (z,) in self.networks.logits(batch.views).items()}
        found = {}
        for name, peer in self.peers.items():
            target = logits[peer].float().softmax(-1)  # whose gradient is wanted too
            found[name] = {
                f"loss_{name}": (1 - self.agreement) * cross_entropy(logits[name], batch.labels),
                "loss_agreement": self.agreement * consistency(logits[name], target),
            }
        joint = torch.stack([term.detach() for terms in found.values() for term in terms.values()])
        kept = share.take(small_loss(share.whole(joint.sum(0)), self.keep))
        return {
            name: {key: kept * term for key, term in terms.items()} for name, terms in found.items()
        }
