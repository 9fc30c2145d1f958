"""An output layer of training alone: what a network predicts becomes the label it is given."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pmnar.networks.features import feature_size, features_and_logits, features_of, head_of
from pmnar.precision import product


class NoiseLayer(nn.Module):
    """A network, and a matrix P(given | true) that is learnt with it.

    The matrix is `softmax(start + change + by_feature · features)` by rows; what is learnt begins
    at 0, so that weight decay pulls the matrix to where it began.

    Args:
        network: from images to logits `[B, K]`.
        start: logarithms of the matrix, `[K, K]`, rows true classes.
        of_features: whether the matrix depends on the network's features (see
            `features_and_logits`): K² F numbers more, and K² for each image.

    Attributes:
        active: bool `[]`; until it is set the output is that of the network in training too.

    Raises:
        InputError: it does, and the network does not tell its features.
    """

    start: Tensor
    active: Tensor

    def __init__(self, network: nn.Module, start: Tensor, of_features: bool = False) -> None:
        super().__init__()
        self.network = network
        like = next(network.parameters())
        settings: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        self.register_buffer("start", start.to(**settings))
        self.register_buffer("active", torch.zeros((), dtype=torch.bool, device=like.device))
        self.change = nn.Parameter(torch.zeros_like(self.start))
        size = (*start.shape, feature_size(network)) if of_features else None
        self.by_feature = None if size is None else nn.Parameter(torch.zeros(size, **settings))

    def forward(self, x: Tensor) -> Tensor:
        """Images → logits `[B, K]`; in training, once active, log-probabilities of given labels."""
        if not self.training:
            logits: Tensor = self.network(x)
            return logits
        if self.by_feature is None:
            features, logits = None, self.network(x)
        else:
            features, logits = features_and_logits(self.network, x)
        given = self.given(logits, features)
        return torch.where(self.active, given, logits.to(given.dtype))

    def matrix(self, features: Tensor | None = None) -> Tensor:
        """P(given | true), `[K, K]`; `[B, K, K]` where it depends on features `[B, F]`."""
        found = self.start + self.change
        if self.by_feature is not None:
            assert features is not None
            change = product(features, self.by_feature.flatten(0, 1).T)
            found = found + change.view(-1, *found.shape)
        return found.softmax(-1)

    def given(self, logits: Tensor, features: Tensor | None = None) -> Tensor:
        """Log-probabilities of given labels, `[B, K]`, at least float32."""
        kind = torch.promote_types(logits.dtype, torch.float32)
        p = logits.to(kind).softmax(-1)
        matrix = self.matrix(features).to(kind)
        found = product(p, matrix) if matrix.ndim == 2 else (p[..., None] * matrix).sum(-2)
        return found.clamp_min(torch.finfo(kind).tiny).log()

    def features(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]` → the network's features `[B, F]`."""
        return features_of(self.network, x)

    @property
    def head(self) -> nn.Module:
        """The network's: features `[B, F]` → logits `[B, K]`."""
        return head_of(self.network)


@dataclass(frozen=True)
class WithNoiseLayer:
    """Puts the layer on a network: for `Setting.with_network`."""

    start: Tensor
    of_features: bool = False

    def __call__(self, network: nn.Module) -> nn.Module:
        """The network with the layer."""
        return NoiseLayer(network, self.start, self.of_features)
