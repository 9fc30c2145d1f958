"""A projection of a network's features, and a prediction of it from another view's."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pmnar.networks.projected import ProjectedNetwork


class PredictedNetwork(ProjectedNetwork):
    """A network beside whose head two small networks sit, one upon the other.

    Each is a linear layer, BatchNorm, ReLU and a linear layer.

    Args:
        network: one that tells its features (see `features_and_logits`).
        size: P, the projection's and the prediction's.
        hidden: what each layer in between has.

    Raises:
        InputError: the network does not tell its features.
    """

    def __init__(self, network: nn.Module, size: int, hidden: int) -> None:
        super().__init__(network, size)
        kind = next(network.parameters()).dtype
        self.projection = _two_layers(self.feature_size, hidden, size, kind)
        self.prediction = _two_layers(size, hidden, size, kind)


@dataclass(frozen=True)
class Predicted:
    """Puts a projection and a prediction beside a network's head: for `Setting.with_network`."""

    size: int
    hidden: int

    def __call__(self, network: nn.Module) -> nn.Module:
        """The network with both."""
        return PredictedNetwork(network, self.size, self.hidden)


def negative_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """`−cos(predicted, target)` of rows `[B, P]`, `[B]`, at least float32; in [−1, 1]."""
    kind = torch.promote_types(predicted.dtype, torch.float32)
    left, right = (nn.functional.normalize(rows.to(kind), dim=-1) for rows in (predicted, target))
    return -(left * right).sum(-1)


def _two_layers(inputs: int, hidden: int, outputs: int, dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hidden, dtype=dtype),
        nn.BatchNorm1d(hidden, dtype=dtype),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs, dtype=dtype),
    )
