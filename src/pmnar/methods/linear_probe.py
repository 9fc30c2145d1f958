"""A linear classifier on features that stay as they are, trained by cross-entropy.

On good features it is hard to beat: where the noise leaves the likeliest label of each image the
right one, ignoring the noise is the best that can be done, and what memorises is not the head but
the network below it (Zhu et al., NeurIPS 2024). So it is worth something on a network that
comes with features (`network=timm network.pretrained=true`), and little on one as it is built.

Features are brought to mean 0 and deviation 1 over the training set, by one ordered pass before the
first epoch, so that one learning rate suits those of any network.
"""

import torch
from torch import Tensor, nn

from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.measurement import Outputs
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.networks.features import feature_size
from pmnar.networks.frozen import FrozenNetwork
from pmnar.samples.memory import margin

STILL = 1e-4
"""A feature whose deviation is below this share of the largest one is as good as constant."""


class Standardised(nn.Module):
    """A linear layer on standardised features.

    Args:
        size: F.
        num_classes: K.
        dtype: of its parameters.

    Attributes:
        mean, scale: of each feature, `[F]`; 0 and 1 before they are known.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int, num_classes: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.linear = nn.Linear(size, num_classes, dtype=dtype)
        self.register_buffer("mean", torch.zeros(size, dtype=dtype))
        self.register_buffer("scale", torch.ones(size, dtype=dtype))

    def forward(self, features: Tensor) -> Tensor:
        """Features `[B, F]` → logits `[B, K]`."""
        logits: Tensor = self.linear((features - self.mean) * self.scale)
        return logits

    def standardise_by(self, features: Tensor) -> None:
        """Take mean and deviation from features `[N, F]`; constant ones are left out."""
        deviation = features.double().std(0, correction=0)
        varies = deviation > STILL * deviation.max()
        self.mean.copy_(features.double().mean(0))
        self.scale.copy_(torch.where(varies, 1 / torch.where(varies, deviation, 1), 0))


class LinearProbe(NoisyLabelMethod):
    """Cross-entropy of a linear head; the network has neither gradients nor momentum.

    Args:
        setting: what all methods share; its network tells its features.
        networks: 1.

    Raises:
        InputError: there are to be others, or the network does not tell its features.
    """

    losses_are_apart = True
    needs_features = True

    def __init__(self, setting: Setting, *, networks: int = 1) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for a linear probe, got {networks}")
        num_classes = len(setting.class_names)

        def probed(network: nn.Module) -> nn.Module:
            kind = next(network.parameters()).dtype
            head = Standardised(feature_size(network), num_classes, kind)
            return FrozenNetwork(network, head)

        super().__init__(setting.with_network(probed))

    @property
    def head(self) -> Standardised:
        """The one network's."""
        network = self.networks["first"]
        assert isinstance(network, FrozenNetwork)
        assert isinstance(network.head, Standardised)
        return network.head

    @property
    def remedy(self) -> str:
        """What makes a difference here."""
        return (
            "a network with better features, such as network=timm network.pretrained=true, or "
            "more epochs"
        )

    def prepare_epoch(self, epoch: int) -> None:
        """Before the first epoch: look at the features."""
        if epoch == 1:
            said = self.ordered_pass(
                lambda outputs, _: {"features": outputs["first"].known_features}
            )
            self.head.standardise_by(said["features"])

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy with the given labels, `[B]`."""
        [z] = self.networks.logits(batch.views)["first"]
        return {"first": {"loss_first": cross_entropy(z, batch.labels)}}

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Margins of the given labels."""
        return {"margin": margin(outputs["first"].logits, batch.labels)}

    def scores(self) -> dict[str, Tensor]:
        """`margin`: how far the given label's logit is above the largest other one."""
        return {"margin": self.measure().kept["margin"]}
