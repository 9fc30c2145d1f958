"""MixUp: cross-entropy on pairs of images and the same mixture of their labels.

Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018. It needs to know nothing of
the noise.
"""

from pmnar.checks import check_reals
from pmnar.data.batches import Batch
from pmnar.losses import soft_cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.mixing import Mixing
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.samples.targets import one_hot


class MixUp(NoisyLabelMethod):
    """MixUp, one λ ~ Beta(α, α) a batch.

    Args:
        setting: what all methods share.
        networks: 1, or 2, which see the same mixtures.
        alpha: α, over 0.

    Raises:
        InputError: a value is out of its range.
    """

    losses_are_apart = True

    def __init__(self, setting: Setting, *, networks: int = 1, alpha: float = 1.0) -> None:
        check_reals("over 0", alpha=alpha)
        super().__init__(setting, networks=networks)
        self.alpha = alpha

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy with the mixed label of each network, `[B]`."""
        assert batch.share is not None
        mixing = Mixing([batch.share], self.alpha)
        target = mixing([one_hot(batch.labels, self.num_classes)])
        logits = self.networks.logits((mixing(batch.views),))
        return {
            name: {f"loss_{name}": soft_cross_entropy(z, target)} for name, (z,) in logits.items()
        }
